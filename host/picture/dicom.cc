// DICOM by DCMTK: grey and colour, raw, run-length, JPEG and JPEG-LS; the first frame. Grey samples are
// what the modality measures, such as Hounsfield units: the file's slope and intercept are applied.
// In C++ because DCMTK is.
#include <dcmtk/config/osconfig.h>

#include <dcmtk/dcmdata/dcistrmb.h>
#include <dcmtk/dcmdata/dcpxitem.h>
#include <dcmtk/dcmdata/dcrledrg.h>
#include <dcmtk/dcmdata/dctk.h>
#include <dcmtk/dcmimage/diregist.h>
#include <dcmtk/dcmimgle/dcmimage.h>
#include <dcmtk/dcmjpeg/djdecode.h>
#include <dcmtk/dcmjpls/djdecode.h>
#include <dcmtk/oflog/oflog.h>

#include <cstdio>
#include <new>

#include <pthread.h>

extern "C" {
#include "bytes.h"
#include "decoder.h"
}

namespace {

struct header {
    Uint16 width, height, samples, allocated, stored, high;
};

// Nothing is written to the terminal: what goes wrong is in a status.
void prepare_library() {
    OFLog::configure(OFLogger::OFF_LOG_LEVEL);
    DcmRLEDecoderRegistration::registerCodecs();
    DJDecoderRegistration::registerCodecs();
    DJLSDecoderRegistration::registerCodecs();
}

thaw_status damaged(const char *how, thaw_error *err) {
    return thaw__picture_damaged("DICOM", how, err);
}

bool read_header(DcmDataset *set, header *h) {
    return set->findAndGetUint16(DCM_Columns, h->width).good() &&
           set->findAndGetUint16(DCM_Rows, h->height).good() &&
           set->findAndGetUint16(DCM_SamplesPerPixel, h->samples).good() &&
           set->findAndGetUint16(DCM_BitsAllocated, h->allocated).good() &&
           set->findAndGetUint16(DCM_BitsStored, h->stored).good() &&
           set->findAndGetUint16(DCM_HighBit, h->high).good();
}

// The library believes in others, and shows what lay in memory.
bool makes_sense(const header *h) {
    return (h->samples == 1 || h->samples == 3) && (h->allocated == 8 || h->allocated == 16) &&
           h->stored >= 1 && h->stored <= h->allocated && h->high >= h->stored - 1 &&
           h->high < h->allocated;
}

// The first piece of the first frame; at is null: there is none.
thaw_bytes first_fragment(DcmElement *pixels, E_TransferSyntax syntax) {
    DcmPixelSequence *pieces = nullptr;
    DcmPixelItem *piece = nullptr;  // The zeroth is a table.
    Uint8 *bytes = nullptr;
    thaw_bytes fragment = {};
    DcmPixelData *data = dynamic_cast<DcmPixelData *>(pixels);
    if (data && data->getEncapsulatedRepresentation(syntax, nullptr, pieces).good() && pieces &&
        pieces->getItem(piece, 1).good() && piece->getUint8Array(bytes).good() && bytes) {
        fragment.at = bytes;
        fragment.left = piece->getLength();
        fragment.big = true;
    }
    return fragment;
}

// Whether a JPEG or JPEG-LS has the size of the header: the library leaves out what it lacks. Other
// codings have no size of their own.
bool has_size(thaw_bytes jpeg, const header *h) {
    if (thaw_bytes_number(&jpeg, 2) != 0xffd8) return true;
    while (!jpeg.ended) {
        uint32_t marker = thaw_bytes_number(&jpeg, 2), n = thaw_bytes_number(&jpeg, 2);
        bool frame = (marker >= 0xffc0 && marker <= 0xffcf && marker != 0xffc4 &&
                      marker != 0xffc8 && marker != 0xffcc) ||
                     marker == 0xfff7;
        if (frame) {
            uint32_t bits = thaw_bytes_number(&jpeg, 1), height = thaw_bytes_number(&jpeg, 2);
            uint32_t width = thaw_bytes_number(&jpeg, 2), samples = thaw_bytes_number(&jpeg, 1);
            return (bits > 8) == (h->allocated > 8) && height == h->height && width == h->width &&
                   samples == h->samples;
        }
        thaw_bytes_take(&jpeg, n < 2 ? jpeg.left + 1 : n - 2);
    }
    return false;
}

// The library makes up pixels that the file lacks.
bool are_pixels_there(DcmDataset *set, const header *h) {
    DcmElement *pixels = nullptr;
    if (set->findAndGetElement(DCM_PixelData, pixels).bad() || !pixels) return false;
    if (DcmXfer(set->getOriginalXfer()).isEncapsulated()) {
        thaw_bytes fragment = first_fragment(pixels, set->getOriginalXfer());
        return fragment.at && has_size(fragment, h);
    }
    double bits = double(h->width) * h->height * h->samples * h->allocated;
    return pixels->getLength() >= bits / 8;
}

template <typename sample>
void take_samples(thaw_decoder *d, const void *data) {
    const sample *from = static_cast<const sample *>(data);
    size_t n = size_t(d->width) * size_t(d->height);
    for (size_t i = 0; i < n; i++)
        d->deep.samples[i] = float(from[i]);
}

// Grey as it was measured.
thaw_status read_deep(thaw_decoder *d, DicomImage *image, thaw_error *err) {
    const DiPixel *pixels = image->getInterData();
    size_t n = size_t(d->width) * size_t(d->height);
    if (!pixels || !pixels->getData() || pixels->getCount() < n)
        return damaged("its pixels make no sense", err);
    d->deep.invert = image->getPhotometricInterpretation() == EPI_Monochrome1;
    switch (pixels->getRepresentation()) {
        case EPR_Uint8:
            take_samples<Uint8>(d, pixels->getData());
            break;
        case EPR_Sint8:
            take_samples<Sint8>(d, pixels->getData());
            break;
        case EPR_Uint16:
            take_samples<Uint16>(d, pixels->getData());
            break;
        case EPR_Sint16:
            take_samples<Sint16>(d, pixels->getData());
            break;
        case EPR_Uint32:
            take_samples<Uint32>(d, pixels->getData());
            break;
        case EPR_Sint32:
            take_samples<Sint32>(d, pixels->getData());
            break;
        default:
            return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                             "DICOM pictures with floats as samples are not read");
    }
    return THAW_OK;
}

// As a viewer opens it: by the file's first window, or table; without one, of more than 8 bits, from
// the least to the greatest sample.
thaw_status read_shown(thaw_decoder *d, DicomImage *image, const header *h, thaw_error *err) {
    size_t n = size_t(d->width) * size_t(d->height);
    bool grey = image->isMonochrome();
    if (grey) {
        int set = image->getWindowCount() > 0   ? image->setWindow(0)
                  : image->getVoiLutCount() > 0 ? image->setVoiLut(0)
                  : h->stored > 8               ? image->setMinMaxWindow(0)
                                                : 1;
        if (!set) return damaged("its window makes no sense", err);
    }
    if (!image->getOutputData(d->rgb, (grey ? 1 : 3) * n, 8, 0, 0))
        return damaged("its pixels make no sense", err);
    for (size_t i = n; grey && i-- > 0;)
        d->rgb[3 * i] = d->rgb[3 * i + 1] = d->rgb[3 * i + 2] = d->rgb[i];
    return THAW_OK;
}

thaw_status read_picture(thaw_decoder *d, DcmFileFormat *file, thaw_error *err) {
    header h = {};
    DcmDataset *set = file->getDataset();
    if (!read_header(set, &h)) return damaged("it holds no picture", err);
    if (!makes_sense(&h))
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "DICOM pictures with %u samples of %u of %u bits are not read", h.samples,
                         h.stored, h.allocated);
    const char *photometric = "";
    set->findAndGetString(DCM_PhotometricInterpretation, photometric);
    bool grey = photometric && std::string(photometric).rfind("MONOCHROME", 0) == 0;
    thaw_picture picture = {};
    picture.width = h.width;
    picture.height = h.height;
    picture.channels = 3;
    picture.deep_channels = grey && h.stored > 8 && thaw__picture_is_deep(d) ? 1 : 0;
    picture.more_bytes =
        uint64_t(h.width) * h.height * h.samples * 8;  // Decompressed, and rescaled.
    thaw_status status = thaw__picture_open(d, &picture, err);
    if (status != THAW_OK) return status;
    if (!are_pixels_there(set, &h)) return damaged("it is cut off", err);
    DicomImage image(file, set->getOriginalXfer(), CIF_UsePartialAccessToPixelData, 0, 1);
    if (image.getStatus() != EIS_Normal)
        return thaw_fail(err, THAW_ERR_UNSUPPORTED,
                         "DICOM pictures of this kind are not read (%s, %s): %s",
                         DcmXfer(set->getOriginalXfer()).getXferName(), photometric,
                         DicomImage::getString(image.getStatus()));
    if (image.getWidth() != h.width || image.getHeight() != h.height ||
        image.isMonochrome() != grey)
        return damaged("its header does not fit its pixels", err);
    status = thaw__picture_rows(d, err);
    if (status != THAW_OK) return status;
    return d->deep.channels ? read_deep(d, &image, err) : read_shown(d, &image, &h, err);
}

thaw_status read_file(thaw_decoder *d, const uint8_t *bytes, size_t n, thaw_error *err) {
    DcmInputBufferStream stream;
    DcmFileFormat file;
    stream.setBuffer(bytes, offile_off_t(n));
    stream.setEos();
    file.transferInit();
    OFCondition condition = file.read(stream);
    file.transferEnd();
    if (condition == EC_StreamNotifyClient) return damaged("it is cut off", err);
    if (condition.bad()) return damaged(condition.text(), err);
    return read_picture(d, &file, err);
}

}  // namespace

extern "C" thaw_status thaw__dicom_decode(thaw_decoder *d, const uint8_t *bytes, size_t n,
                                          thaw_error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_library);
    if (thaw__picture_stopped(d))
        return thaw_fail(err, THAW_ERR_INTERRUPTED, "stopped while a DICOM was read");
    try {
        return read_file(d, bytes, n, err);
    } catch (const std::bad_alloc &) {
        return thaw_fail_memory(err, "for a DICOM");
    }
}

extern "C" void thaw__dicom_version(char text[THAW__VERSION]) {
    snprintf(text, THAW__VERSION, "DCMTK %s", OFFIS_DCMTK_VERSION_STRING);
}
