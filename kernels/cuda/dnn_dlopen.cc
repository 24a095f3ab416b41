#include <dlfcn.h>

#include "dnn.h"
#include "library.h"

namespace thaw {

bool dnn_find(dnn_calls *c) {
    static const char *const names[] = {"libcudnn.so.9", "libcudnn.so.8", "libcudnn.so", nullptr};
    void *library = open_library(names);
    if (!library) return false;
    const struct {
        void *to;
        const char *name;
    } all[] = {
        {&c->create, "cudnnCreate"},
        {&c->destroy, "cudnnDestroy"},
        {&c->set_stream, "cudnnSetStream"},
        {&c->create_tensor, "cudnnCreateTensorDescriptor"},
        {&c->destroy_tensor, "cudnnDestroyTensorDescriptor"},
        {&c->set_tensor, "cudnnSetTensor4dDescriptor"},
        {&c->create_filter, "cudnnCreateFilterDescriptor"},
        {&c->destroy_filter, "cudnnDestroyFilterDescriptor"},
        {&c->set_filter, "cudnnSetFilter4dDescriptor"},
        {&c->create_convolution, "cudnnCreateConvolutionDescriptor"},
        {&c->destroy_convolution, "cudnnDestroyConvolutionDescriptor"},
        {&c->set_convolution, "cudnnSetConvolution2dDescriptor"},
        {&c->set_math, "cudnnSetConvolutionMathType"},
        {&c->forward_bytes, "cudnnGetConvolutionForwardWorkspaceSize"},
        {&c->data_bytes, "cudnnGetConvolutionBackwardDataWorkspaceSize"},
        {&c->filter_bytes, "cudnnGetConvolutionBackwardFilterWorkspaceSize"},
        {&c->forward, "cudnnConvolutionForward"},
        {&c->data, "cudnnConvolutionBackwardData"},
        {&c->filter, "cudnnConvolutionBackwardFilter"},
        {&c->explain, "cudnnGetErrorString"},
    };
    for (const auto &one : all) {
        *(void **)one.to = dlsym(library, one.name);
        if (!*(void **)one.to) return false;
    }
    return true;
}

}  // namespace thaw
