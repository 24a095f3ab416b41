#include "base64.h"

/* The value of a letter; -1: it has none; -2: it is passed over. */
static int letter_value(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    if (c == '/') return 63;
    return c == '\n' || c == '\r' || c == ' ' ? -2 : -1;
}

/* Whether all that is left is filling: as much as makes the letters a multiple of four, or none. */
static bool is_filling(const char *text, size_t n, size_t letters) {
    size_t filling = 0;
    for (size_t i = 0; i < n; i++) {
        if (letter_value(text[i]) == -2) continue;
        if (text[i] != '=') return false;
        filling++;
    }
    return filling == 0 || filling == (4 - letters % 4) % 4;
}

bool thaw_base64_decode(const char *text, size_t n, uint8_t *out, size_t *bytes) {
    uint32_t group = 0;
    size_t letters = 0, i = 0;
    *bytes = 0;
    for (; i < n && text[i] != '='; i++) {
        int value = letter_value(text[i]);
        if (value == -2) continue;
        if (value < 0) return false;
        group = group << 6 | (uint32_t)value;
        if (++letters % 4) continue;
        for (int shift = 16; shift >= 0; shift -= 8)
            out[(*bytes)++] = (uint8_t)(group >> shift);
    }
    size_t left = letters % 4;
    if (left == 1 || !is_filling(text + i, n - i, letters)) return false;
    if (left > 1) out[(*bytes)++] = (uint8_t)(group >> (left == 2 ? 4 : 10));
    if (left > 2) out[(*bytes)++] = (uint8_t)(group >> 2);
    return true;
}
