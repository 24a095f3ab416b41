/* Channels to options: where the pictures are, and the network. */
#ifndef THAW_CHANNELS_H
#define THAW_CHANNELS_H

#include "options/options.h"
#include "platform.h"

/* Sets data.train, data.validation and data.test as the channels say: train or training, validation and
 * test, of folders, or with train_lst and validation_lst beside them, of lists; what is set already stays.
 * Nothing is written into them: they may be read-only. What comes through a pipe is kept below work. A
 * channel that Thaw has no use for becomes a note.
 * ERR_DATA: a channel is named and missing or empty; what thaw_pipe_spool returns. */
thaw_status thaw_channels_set_data(const thaw_platform *platform, const char *work,
                                   const volatile int *stop, thaw_options *options,
                                   thaw_error *err);

/* Sets model to a file. Without the option: the one ONNX file or packed bundle in the channel model, or
 * the one model that the image has. A name without a slash is looked for in both, with and without
 * .onnx behind it. ERR_USAGE: there is none, or several, which the sentence names. */
thaw_status thaw_channels_set_model(const thaw_platform *platform, thaw_options *options,
                                    thaw_error *err);

#endif
