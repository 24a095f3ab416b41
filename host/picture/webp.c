/* WebP by libwebp, as Pillow uses it. Of an animation the first picture, on a canvas that is transparent
 * where the file has transparency, and else black. */
#include <stdio.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

#include "decoder.h"

static int orientation(const WebPDemuxer *file) {
    WebPChunkIterator chunk;
    int found = 0;
    if (WebPDemuxGetChunk(file, "EXIF", 1, &chunk)) {
        found = thaw__exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
    if (!found && WebPDemuxGetChunk(file, "XMP ", 1, &chunk)) {
        found = thaw__xmp_orientation(chunk.chunk.bytes, chunk.chunk.size);
        WebPDemuxReleaseChunkIterator(&chunk);
    }
    return found;
}

static thaw_status refuse(VP8StatusCode code, thaw_error *err) {
    switch (code) {
        case VP8_STATUS_OUT_OF_MEMORY:
            return thaw_fail_memory(err, "for a WebP");
        case VP8_STATUS_NOT_ENOUGH_DATA:
            return thaw__picture_damaged("WebP", "it is cut off", err);
        default:
            return thaw__picture_damaged("WebP", "its pixels make no sense", err);
    }
}

/* Where the frame's pixels lie in d->rgb. */
static WebPRGBABuffer frame_room(const thaw_decoder *d, const WebPIterator *frame) {
    size_t stride = (size_t)d->n_columns * (size_t)d->channels;
    size_t first = (size_t)frame->x_offset * (size_t)d->channels;
    return (WebPRGBABuffer){.rgba = thaw__picture_row(d, frame->y_offset) + first,
                            .stride = (int)stride,
                            .size = stride * (size_t)frame->height - first};
}

static thaw_status read_frame(thaw_decoder *d, const WebPDemuxer *file, const WebPIterator *frame,
                              thaw_error *err) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED, "libwebp is not the one of the build");
    const uint8_t *bytes = frame->fragment.bytes;
    size_t n = frame->fragment.size;
    VP8StatusCode code = WebPGetFeatures(bytes, n, &config.input);
    if (code != VP8_STATUS_OK) return refuse(code, err);
    uint32_t width = WebPDemuxGetI(file, WEBP_FF_CANVAS_WIDTH);
    uint32_t height = WebPDemuxGetI(file, WEBP_FF_CANVAS_HEIGHT);
    bool alpha = frame->has_alpha || WebPDemuxGetI(file, WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG;
    bool covered = frame->width == (int)width && frame->height == (int)height;
    thaw_picture picture = {.width = width,
                            .height = height,
                            .channels = alpha ? 4 : 3,
                            .orientation = orientation(file),
                            .more_bytes = (uint64_t)5 * width * height}; /* Of a lossless one. */
    if (config.input.width != frame->width || config.input.height != frame->height ||
        frame->x_offset + frame->width > (int)width ||
        frame->y_offset + frame->height > (int)height)
        return thaw__picture_damaged("WebP", "its header does not fit its pixels", err);
    THAW_TRY(thaw__picture_open(d, &picture, err));
    THAW_TRY(thaw__picture_rows(d, err));
    if (!covered) memset(d->rgb, 0, (size_t)d->channels * width * height);
    config.output.colorspace = d->channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA = frame_room(d, frame);
    code = WebPDecode(bytes, n, &config);
    return code == VP8_STATUS_OK ? THAW_OK : refuse(code, err);
}

thaw_status thaw__webp_decode(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
    WebPIterator frame;
    if (thaw__picture_stopped(d))
        return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped while a WebP was read");
    WebPDemuxer *file = WebPDemuxPartial(&(WebPData){bytes, n}, &state);
    thaw_status status;
    if (!file || state != WEBP_DEMUX_DONE || !WebPDemuxGetFrame(file, 1, &frame)) {
        bool cut = state == WEBP_DEMUX_PARSING_HEADER || state == WEBP_DEMUX_PARSED_HEADER;
        status = thaw__picture_damaged("WebP", cut ? "it is cut off" : "it holds no picture", err);
    } else {
        status = read_frame(d, file, &frame, err);
        WebPDemuxReleaseIterator(&frame);
    }
    WebPDemuxDelete(file);
    return status;
}

void thaw__webp_version(char text[THAW__VERSION]) {
    unsigned v = (unsigned)WebPGetDecoderVersion();
    snprintf(text, THAW__VERSION, "libwebp %u.%u.%u", v >> 16, v >> 8 & 0xff, v & 0xff);
}
