/* GPUs that a plan can be made for where there is none: what is in ml.g4dn, g5, g6, p4 and p5. */
#ifndef THAW_GPU_MODELS_H
#define THAW_GPU_MODELS_H

/* What options call it; the architecture that kernels are compiled for; multiprocessors; dense fp16
 * products summed in float, TFLOP/s; DRAM, GB/s; L2, MiB. NVIDIA's data sheets of the SXM or the
 * only form; A10G: of the machine's, G5's page. */
#define THAW_GPU_MODEL_LIST(X)        \
    X("t4", 75, 40, 65, 320, 4)       \
    X("a10g", 86, 80, 70, 600, 6)     \
    X("l4", 89, 58, 121, 300, 48)     \
    X("a100", 80, 108, 312, 2039, 40) \
    X("h100", 90, 132, 989, 3350, 50) \
    X("h200", 90, 132, 989, 4800, 60)

#endif
