/* Presets: how networks of one origin want their pixels, input = (pixel * scale - mean) / std. */
#ifndef THAW_PRESET_H
#define THAW_PRESET_H

#include "enum.h"

/* Value, name, what it means, order of the channels, scale, mean and std in that order. */
#define THAW_PRESET_LIST(X)                                                                     \
    X(THAW_PRESET_IMAGENET, "imagenet", "x/255, ImageNet's mean and deviation", THAW_ORDER_RGB, \
      1 / 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))                                  \
    X(THAW_PRESET_TF, "tf", "x/128 - 1", THAW_ORDER_RGB, 1 / 128.0, (1, 1, 1), (1, 1, 1))       \
    X(THAW_PRESET_INCEPTION, "inception", "x/255, mean and deviation 0.5", THAW_ORDER_RGB,      \
      1 / 255.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))                                              \
    X(THAW_PRESET_KERAS, "keras", "x/127.5 - 1, which is inception, too", THAW_ORDER_RGB,       \
      1 / 127.5, (1, 1, 1), (1, 1, 1))                                                          \
    X(THAW_PRESET_CAFFE, "caffe", "BGR, 0..255, mean subtracted", THAW_ORDER_BGR, 1,            \
      (103.939, 116.779, 123.68), (1, 1, 1))                                                    \
    X(THAW_PRESET_UNIT, "unit", "x/255", THAW_ORDER_RGB, 1 / 255.0, (0, 0, 0), (1, 1, 1))       \
    X(THAW_PRESET_RAW, "raw", "0..255 as they are", THAW_ORDER_RGB, 1, (0, 0, 0), (1, 1, 1))
typedef enum thaw_preset { THAW_PRESET_LIST(THAW_ENUM_VALUE) } thaw_preset;

#endif
