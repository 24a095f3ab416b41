/* What the CPU's trunk steps share: a step is a few oneDNN primitives with bound arguments.
 *
 * Logical dimensions are oneDNN's N,C,H,W; the physical layout of every activation is whatever the
 * producing primitive likes best (blocked by 8 or 16 channels, mostly), and only `import` and
 * `export` see plain memory. Primitives use the user's scratchpad, so a run takes no memory of its
 * own; weights are reordered to the primitive's layout once.
 */
#ifndef THAW_CPU_ONEDNN_H
#define THAW_CPU_ONEDNN_H

#include <dnnl.h>

#include "kernels.h"

enum { CPU_MAX_PACKS = 2 };

/* How values lie: logical shape, type and physical layout. Owned by the state of the step that made
 * it, so it lives as long as the plan. */
typedef const_dnnl_memory_desc_t cpu_md;

/* What an argument's memory is at run time. */
typedef enum cpu_binding {
    CPU_BIND_PORT,      /* the port's data */
    CPU_BIND_CONSTANT,  /* packed at plan time, in the plan's arena */
    CPU_BIND_WORKSPACE, /* an offset into the workspace */
    CPU_BIND_FEATURES,  /* the caller's output */
    CPU_BIND_KEPT,      /* the step's kept values */
} cpu_binding;

typedef struct cpu_arg {
    int index; /* DNNL_ARG_... */
    cpu_binding binding;
    const thaw_port *port;
    void *constant;
    size_t offset;
    dnnl_memory_t memory;
} cpu_arg;

typedef struct cpu_call {
    dnnl_primitive_t primitive;
    int n_args, capacity;
    cpu_arg *args;         /* In the plan's arena. */
    dnnl_exec_arg_t *exec; /* The same as oneDNN wants them. */
    struct cpu_call *next; /* NULL: the last of the step. */
} cpu_call;

/* A layout that a step owns. */
typedef struct cpu_kept {
    dnnl_memory_desc_t md;
    struct cpu_kept *next;
} cpu_kept;

/* Weights that change, copied to the layout that a primitive wants. */
typedef struct cpu_pack {
    dnnl_primitive_t reorder; /* NULL: the leader's does it. */
    dnnl_memory_t from, to;
    void *packed;
} cpu_pack;

/* How per-channel loops see an activation: [N, blocks, pixels, width], dense, where channel c is
 * number c % width of block c / width. It covers NHWC, NCHW and channels in blocks of 4, 8 or 16. */
typedef struct cpu_view {
    int64_t N, C, blocks, pixels, width;
} cpu_view;

/* thaw_step.state of every step, and backward_state; in the plan's arena. */
typedef struct cpu_state {
    cpu_call *first, *last; /* In the order in which they run. */
    int n_packs;
    cpu_pack packs[CPU_MAX_PACKS];
    cpu_kept *kept;
    /* pad, the gradient of slice: so many bytes are zeroed before the calls: the output's first, or
     * the workspace's at clear_offset. */
    size_t clear_bytes, clear_offset;
    cpu_view view;                         /* Where loops of our own run. */
    const struct cpu_weight_gradient *own; /* NULL: oneDNN's. */
} cpu_state;

/* A prepare in progress. */
typedef struct cpu_builder {
    thaw_step *step;
    const thaw_plan_context *plan;
    dnnl_engine_t engine;
    struct thaw_error *err;
    cpu_state *state;
    const cpu_state *leader; /* NULL, or the state of the leader's same pass. */
    size_t workspace;        /* Taken by now. */
} cpu_builder;

#define CPU_TRY(expr)                       \
    do {                                    \
        int try_code = (int)(expr);         \
        if (try_code != 0) return try_code; \
    } while (0)

/* Starts a prepare: allocates the state in the plan's arena. */
int cpu_begin(cpu_builder *builder, thaw_step *step, const thaw_plan_context *plan,
              struct thaw_error *err);

/* The same for its backward pass. */
int cpu_begin_backward(cpu_builder *builder, thaw_step *step, const thaw_plan_context *plan,
                       struct thaw_error *err);

/* Appends a primitive made from the descriptor, which is destroyed; reserves its scratchpad at the
 * end of the step's workspace. */
int cpu_add_call(cpu_builder *builder, dnnl_primitive_desc_t desc, cpu_call **call);

/* ---- layouts -------------------------------------------------------------------------------- */

/* A dense layout of up to 5 dimensions. */
int cpu_dense_md(cpu_builder *builder, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                 dnnl_format_tag_t tag, cpu_md *md);

/* The port's logical shape N,C,H,W: any layout, plain NHWC, plain NCHW. */
int cpu_port_md(cpu_builder *builder, const thaw_port *port, dnnl_data_type_t type,
                dnnl_format_tag_t tag, cpu_md *md);

/* Dimensions of which neighbours lie so many elements apart. */
int cpu_strided_md(cpu_builder *builder, int n_dims, const dnnl_dims_t dims,
                   const dnnl_dims_t strides, dnnl_data_type_t type, cpu_md *md);

/* The part of a layout that starts at offsets. */
int cpu_part_md(cpu_builder *builder, cpu_md whole, const dnnl_dims_t dims,
                const dnnl_dims_t offsets, cpu_md *md);

/* What a descriptor chose for one of its arguments. */
int cpu_chosen_md(cpu_builder *builder, dnnl_primitive_desc_t desc, dnnl_query_t argument,
                  cpu_md *md);

/* The layout of a port that a step has written. */
cpu_md cpu_layout(const thaw_port *port);

dnnl_data_type_t cpu_type(thaw_dtype dtype);

/* Declares the output's layout and size. */
int cpu_set_output(cpu_builder *builder, cpu_md md);

/* ---- arguments ------------------------------------------------------------------------------ */

int cpu_bind_port(cpu_builder *builder, cpu_call *call, int index, const thaw_port *port);
/* The port's data seen through another layout (a part of it, or another logical shape). */
int cpu_bind_port_as(cpu_builder *builder, cpu_call *call, int index, const thaw_port *port,
                     cpu_md md);
int cpu_bind_features(cpu_builder *builder, cpu_call *call, int index, cpu_md md);

/* Packs n floats that lie as `from` says into a copy that lies as `to` says, and binds that. In
 * training they are packed whenever cpu_pack is called. */
int cpu_bind_constant(cpu_builder *builder, cpu_call *call, int index, const float *values,
                      cpu_md from, cpu_md to);

/* Binds the step's input in[i] in layout `want`, with a reorder before the call if it lies
 * otherwise. Must come before cpu_add_call of the primitive that reads it: it returns where. */
typedef struct cpu_source {
    const thaw_port *port;
    cpu_md md;
    bool reordered;
    size_t offset;
} cpu_source;
int cpu_source_in(cpu_builder *builder, const thaw_port *port, cpu_md want, cpu_source *source);
int cpu_bind_source(cpu_builder *builder, cpu_call *call, int index, const cpu_source *source);

/* Where a primitive writes in layout `md`: a port, or floats of the caller that lie as `want` says.
 * Open it before the call that writes, bind it, and close it after that call, which adds a reorder
 * where the two layouts differ. */
typedef struct cpu_target {
    const thaw_port *port; /* NULL: memory. */
    float *memory;
    cpu_md want, md;
    bool reordered;
    size_t offset;
} cpu_target;
int cpu_target_open(cpu_builder *builder, cpu_target *target);
int cpu_bind_target(cpu_builder *builder, cpu_call *call, int index, const cpu_target *target);
int cpu_target_close(cpu_builder *builder, const cpu_target *target);

/* What the forward pass keeps for the backward pass, from a byte of it on. */
int cpu_bind_kept(cpu_builder *builder, cpu_call *call, int index, cpu_md md, size_t offset);

/* ---- what follows ---------------------------------------------------------------------------- */

/* oneDNN's algorithm and parameters for an activation (not NONE). */
void cpu_act_algorithm(const thaw_epilogue *epilogue, dnnl_alg_kind_t *alg, float *alpha,
                       float *beta);

/* Attributes with the user's scratchpad and the given post-operations (destroyed; NULL: none). */
int cpu_attributes(dnnl_post_ops_t ops, dnnl_primitive_attr_t *attr);

/* The same for the step's epilogue: + residual, + shift (an argument of post-operation 0; NULL:
 * none), then the activation. */
int cpu_epilogue(cpu_builder *builder, cpu_md shift, dnnl_primitive_attr_t *attr);

/* A descriptor of a copy from one layout to another. */
int cpu_copy_desc(cpu_builder *builder, cpu_md from, cpu_md to, dnnl_primitive_desc_t *desc);

/* How loops see the port; refused where it lies in none of the usual ways. */
int cpu_view_of(cpu_builder *builder, const thaw_port *port, cpu_view *view);

/* The channels of a block. */
static inline int64_t cpu_view_lanes(const cpu_view *v, int64_t block) {
    int64_t left = v->C - block * v->width;
    return left < v->width ? left : v->width;
}

/* ---- loops of our own ------------------------------------------------------------------------ */

enum { CPU_LOOP_PORTS = 2 };

/* A loop over plain float N,H,W,C, between copies that bring what it reads and take away what it
 * writes where ports lie otherwise. thaw_step.state, or backward_state, of such a step. */
typedef struct cpu_loop {
    cpu_state state;
    const cpu_call *behind; /* The last call before the loop; NULL: it comes first. */
    int n_in;
    cpu_source in[CPU_LOOP_PORTS];
    cpu_target out; /* The output, or dx[0]; its port may be NULL. */
} cpu_loop;

/* The prepare of a step that is a loop over its inputs. */
int cpu_loop_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err);
/* The same for its backward pass, which reads these ports and writes dx[0], where that is wanted. */
int cpu_loop_backward_prepare(thaw_step *step, const thaw_plan_context *plan, int n_in,
                              thaw_port *const *in, struct thaw_error *err);

/* What is read and written in a run; cpu_loop_end takes the results away. */
int cpu_loop_start(const cpu_loop *loop, const thaw_run_context *context,
                   const float *in[CPU_LOOP_PORTS], float **out);
int cpu_loop_end(const cpu_loop *loop, const thaw_run_context *context);

/* Fails with a sentence; always returns non-zero. */
int cpu_refuse(cpu_builder *builder, int code, const char *what);

/* The run and release of every oneDNN step. */
int cpu_run(const thaw_step *step, const thaw_run_context *context);
void cpu_release(thaw_step *step);
int cpu_run_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_pack_step(const thaw_step *step, void *stream);

/* One prepare for each slot of the trunk; see kernels.h. */
#define X(name, text)                                                        \
    int cpu_##name##_prepare(thaw_step *step, const thaw_plan_context *plan, \
                             struct thaw_error *err);
THAW_STEP_LIST(X)
#undef X
int cpu_import_run(const thaw_step *step, const thaw_run_context *context);
int cpu_batch_norm_run(const thaw_step *step, const thaw_run_context *context);
int cpu_constant_run(const thaw_step *step, const thaw_run_context *context);
int cpu_group_norm_run(const thaw_step *step, const thaw_run_context *context);
int cpu_softmax_run(const thaw_step *step, const thaw_run_context *context);
int cpu_resample_run(const thaw_step *step, const thaw_run_context *context);

/* The same for the gradients. */
#define BACKWARD(name)                                                                \
    int cpu_##name##_backward_prepare(thaw_step *step, const thaw_plan_context *plan, \
                                      struct thaw_error *err);
BACKWARD(conv)
BACKWARD(pool)
BACKWARD(global_mean)
BACKWARD(act)
BACKWARD(add)
BACKWARD(mul)
BACKWARD(affine)
BACKWARD(batch_norm)
BACKWARD(layer_norm)
BACKWARD(concat)
BACKWARD(slice)
BACKWARD(shuffle)
BACKWARD(pad)
BACKWARD(group_norm)
BACKWARD(softmax)
BACKWARD(matmul)
BACKWARD(resample)
BACKWARD(transpose)
BACKWARD(reshape)
#undef BACKWARD
int cpu_conv_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_act_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_add_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_mul_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_affine_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_batch_norm_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_slice_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_group_norm_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_softmax_backward(const thaw_step *step, const thaw_run_context *context);
int cpu_resample_backward(const thaw_step *step, const thaw_run_context *context);

#endif
