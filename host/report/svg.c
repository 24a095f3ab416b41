#include "svg.h"

#include <math.h>

#include "chart.h"
#include "page.h"

/* Pixels, about, that a letter takes whose first byte this is; 0: no first byte. Letters of three bytes
 * are mostly as wide as high. */
static int letter_width(char first) {
    enum { WIDE = 11 };
    unsigned char c = (unsigned char)first;
    return c < 0x80 || (c >= 0xc0 && c < 0xe0) ? THAW_SVG_LETTER : c >= 0xe0 ? WIDE : 0;
}

double thaw_svg_width(const char *text) {
    double width = 0;
    for (; *text; text++)
        width += letter_width(*text);
    return width;
}

double thaw_svg_longest(const char *const *names, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, thaw_svg_width(names[i]));
    return most;
}

void thaw_svg_short(FILE *out, const char *text, double pixels) {
    double width = 0, most = thaw_svg_width(text) > pixels ? pixels - THAW_SVG_LETTER : pixels;
    size_t n = 0;
    for (; text[n]; n++) {
        width += letter_width(text[n]);
        if (width > most) break;
    }
    thaw_page_part(out, text, n);
    if (text[n]) fputs("\u2026", out);
}

enum { HUES = 8 }; /* That people tell apart; further numbers have them again, and other marks. */

int thaw_svg_mark(int colour) {
    return colour < 0 ? 0 : colour / HUES % THAW_SVG_MARKS;
}

void thaw_svg_colour(FILE *out, int colour, const char *class) {
    static const int hues[HUES] = {212, 24, 150, 285, 345, 48, 185, 95};
    static const char *const named[] = {"grey", "accent", "warn"};
    if (colour < 0)
        fprintf(out, " class=\"%s %s\"", named[-1 - colour], class);
    else
        fprintf(out, " class=\"k %s\" style=\"--h:%d\"", class, hues[colour % HUES]);
}

void thaw_svg_begin_box(FILE *out, const char *title, bool wide) {
    fprintf(out, "<div class=\"chart%s\"><p><b>", wide ? " long" : "");
    thaw_page_text(out, title);
    fprintf(out, "</b></p>%s", wide ? "<div class=wide>" : "");
}

void thaw_svg_begin(FILE *out, const char *title, double width, double height) {
    fprintf(out,
            "<svg role=img width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" aria-label=\"",
            width, height, width, height);
    thaw_page_text(out, title);
    fputs("\">\n", out);
}
