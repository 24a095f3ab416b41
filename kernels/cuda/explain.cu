/* Which kernel a prepared step runs, why, and how far from the device's limits it should be. */
#include <stdio.h>

#include <algorithm>

#include "conv_tile.h"
#include "step.h"
#include "types.h"

namespace thaw {

/* What must be computed and moved, whatever the kernel. */
struct work {
    double flop, bytes;
};

static double port_bytes(const thaw_port *p) {
    return (double)(p->N * p->H * p->W * padded_channels(p->C)) *
           (double)thaw_dtype_bytes(p->dtype);
}

static double filter_elements(const thaw_conv_shape &s) {
    return (double)(s.K * (s.C / s.G) * s.window.R * s.window.S);
}

static double conv_flop(const thaw_conv_shape &s) {
    return 2 * filter_elements(s) * (double)(s.N * s.P * s.Q);
}

static double pixel_bytes(const thaw_conv_shape &s) {
    return (double)(s.N * s.H * s.W * s.C);
}

/* Inputs and output once; the pixels or the tensor in front of a pair for its first half. */
static work work_of(const thaw_step *step, const step_state *state) {
    work w = {0, port_bytes(step->out)};
    double each = (double)thaw_dtype_bytes(step->out->dtype);
    for (int i = 0; i < step->n_in; i++)
        w.bytes += state->is_stem ? 0 : port_bytes(step->in[i]);
    if (state->is_stem) {
        w.bytes += pixel_bytes(state->stem.shape) + filter_elements(state->stem.shape) * each;
        w.flop += conv_flop(state->stem.shape);
    } else if (step->kind == THAW_STEP_conv || step->kind == THAW_STEP_dense) {
        thaw_conv_shape s = shape_of(step);
        w.bytes += filter_elements(s) * each;
        w.flop += conv_flop(s);
    }
    if (step->kind == THAW_STEP_matmul)
        w.flop += 2 * (double)(step->out->N * step->out->H * step->out->W * step->out->C) *
                  (double)step->in[0]->W;
    if (state->is_separable) w.flop += conv_flop(state->depthwise.shape);
    if (step->kind == THAW_STEP_export)
        w.bytes += (double)(step->out->N * step->out->H * step->out->W * step->out->C) * 4 -
                   port_bytes(step->out);
    return w;
}

/* Products at the tensor cores' rate, or a quarter of it without them. */
static double products_us(const work &w, const thaw_cuda_device &device, thaw_dtype dtype,
                          bool tensor_cores) {
    return w.flop /
           (device.tflops * 1e6 * (tensor_cores ? 1 : 0.25) * (dtype == THAW_F32 ? 0.5 : 1));
}

static void explain_gemm(const step_state *state, const char *kernel, thaw_step_plan *plan) {
    const thaw_cuda_conv_choice &choice = state->conv.choice;
    conv_tile tile = tile_of(choice.variant, state->sm);
    snprintf(plan->kernel, sizeof plan->kernel, "%s %dx%d%s", kernel, tile.m, tile.n,
             choice.splits > 1 ? ", sum split" : "");
    if (choice.splits > 1) {
        size_t n = strlen(plan->kernel);
        snprintf(plan->kernel + n, sizeof plan->kernel - n, " in %d", choice.splits);
    }
}

/* Steps for which there is one kernel. */
static const char *plain_kernel(thaw_step_kind kind) {
    switch (kind) {
        case THAW_STEP_pool:
            return "pool";
        case THAW_STEP_layer_norm:
            return "layer norm";
        case THAW_STEP_group_norm:
            return "group norm";
        case THAW_STEP_softmax:
            return "softmax";
        case THAW_STEP_matmul:
            return "products of maps";
        case THAW_STEP_resample:
            return "resample";
        case THAW_STEP_global_mean:
            return "global mean";
        case THAW_STEP_act:
        case THAW_STEP_add:
        case THAW_STEP_mul:
        case THAW_STEP_affine:
            return "element-wise";
        default:
            return "move";
    }
}

void explain_step(const thaw_step *step, const void *device, thaw_step_plan *plan) {
    /* Of what moves bytes an H200 got half (small) to 0.9 (large) of a copy's rate. */
    const double LAUNCH_US = 2, SHARE_OF_COPY = 0.6;
    const step_state *state = (const step_state *)step->state;
    const thaw_cuda_device &facts = ((const open_device *)device)->facts;
    *plan = {};
    if (!state->needed && step->kind != THAW_STEP_export) {
        snprintf(plan->why, sizeof plan->why, "in a later step's kernel");
        return;
    }
    bool tensor_cores = state->is_stem || state->is_gemm;
    work w = work_of(step, state);
    plan->products_us = products_us(w, facts, step->out->dtype, tensor_cores);
    plan->bytes_us = w.bytes / (facts.gbytes * 1e3);
    plan->expected_us = LAUNCH_US + w.bytes / (facts.gbytes * 1e3 * SHARE_OF_COPY);
    snprintf(plan->why, sizeof plan->why, "no other kernel");
    if (state->is_stem) {
        const thaw_cuda_stem &s = state->stem;
        snprintf(plan->kernel, sizeof plan->kernel, "stem, tile %d x %d%s", s.choice.out_h,
                 s.choice.out_w, s.pooled ? ", max pool" : "");
        snprintf(plan->why, sizeof plan->why, "reads the pixels as they are");
        plan->expected_us = s.choice.expected_us;
    } else if (state->is_separable) {
        explain_gemm(state, "depthwise and 1x1", plan);
        snprintf(plan->why, sizeof plan->why, "saves the tensor between");
    } else if (state->is_gate) {
        snprintf(plan->kernel, sizeof plan->kernel, "gate of two dense layers");
        snprintf(plan->why, sizeof plan->why, "saves a launch");
    } else if (state->is_depthwise) {
        snprintf(plan->kernel, sizeof plan->kernel, "depthwise");
    } else if (state->is_gemm) {
        explain_gemm(state, "implicit GEMM", plan);
        bool timed = state->measured_us > 0;
        plan->expected_us = timed ? state->measured_us : state->conv.choice.expected_us;
        snprintf(plan->why, sizeof plan->why, timed ? "timed on this device" : "cost model");
    } else {
        snprintf(plan->kernel, sizeof plan->kernel, "%s", plain_kernel(step->kind));
    }
}

}  // namespace thaw
