#include "page.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* Colours are named once; a chart says which of them, or a hue (--h), whose lightness is the theme's. */
static const char style[] =
    ":root{color-scheme:light dark;--ink:#1d2733;--faint:#556474;--line:#d8e0e8;--paper:#fff;"
    "--raised:#f4f7fa;--accent:#2f7dd1;--warn:#c8482f;--l:42%}"
    "@media screen and (prefers-color-scheme:dark){:root{--ink:#e4eaf0;--faint:#9dabba;"
    "--line:#36424f;--paper:#12181f;--raised:#1b232c;--accent:#62a8f0;--warn:#f08468;--l:66%}}"
    "*{box-sizing:border-box}"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);"
    "max-width:73rem;margin:1.5rem auto;padding:0 .75rem}"
    "h1{font-size:1.6rem;line-height:1.25;margin:0}"
    "h2{font-size:1.15rem;margin:2.2rem 0 .4rem;break-after:avoid}"
    "p{max-width:46rem;margin:.4rem 0}.sub,.legend,figcaption span{color:var(--faint)}"
    "h1,p,figcaption,summary{overflow-wrap:anywhere}"
    ".cards,.charts,.pictures{display:flex;flex-wrap:wrap;gap:1rem;margin-top:.8rem}"
    ".card{border:1px solid var(--line);border-radius:8px;padding:.6rem 1rem;min-width:8rem}"
    ".card b{display:block;font-size:1.5rem;line-height:1.3}"
    ".advice{border-left:4px solid var(--accent);background:var(--raised);padding:.7rem 1rem;"
    "font-size:1.1rem}"
    ".chart{width:360px;max-width:100%;break-inside:avoid}.chart.long{width:auto}"
    ".chart>p{margin:0;line-height:1.35}.chart b{font-weight:600}"
    ".wide{overflow-x:auto;max-width:100%}"
    "svg{display:block;max-width:none}.chart>svg{max-width:100%;height:auto}"
    "svg text{font:11px system-ui,sans-serif;fill:var(--faint)}"
    "svg .strong{fill:var(--ink)}"
    "svg .halo{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}"
    ".grid{stroke:var(--line);stroke-width:1;fill:none}"
    ".k{color:hsl(var(--h) 65% var(--l))}.grey{color:var(--faint)}.accent{color:var(--accent)}"
    ".warn{color:var(--warn)}"
    "svg .k,svg .grey,svg .accent,svg .warn{stroke:currentColor;fill:currentColor}"
    "svg .line{fill:none;stroke-width:2;stroke-linejoin:round}"
    "svg .dash{stroke-dasharray:5 4}svg .ring{fill:none;stroke-width:2}"
    "svg rect.accent,svg rect.warn,svg rect.k{stroke:none}"
    ".legend{font-size:.8rem}.legend i{display:inline-block;width:1.3em;border-top:3px solid;"
    "margin:0 .35em .25em 0;vertical-align:middle}.legend i.dash{border-top-style:dashed}"
    ".legend i.mark{border:0;width:auto;margin-bottom:0;font-style:normal}"
    ".legend span{margin-right:1em;color:inherit;display:inline-block}"
    "table{border-collapse:collapse}td,th{padding:.15rem .6rem;text-align:right;"
    "white-space:nowrap;vertical-align:top}"
    "th{font-weight:600;color:var(--faint);border-bottom:1px solid var(--line)}"
    ".t{text-align:left;white-space:normal}td.t{min-width:7rem;overflow-wrap:normal}"
    "tbody tr:hover{background:var(--raised)}"
    "th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--accent)}"
    "th[aria-sort=ascending] button::after{content:\" \\25b4\"}"
    "th[aria-sort=descending] button::after{content:\" \\25be\"}"
    "summary{cursor:pointer;margin:.8rem 0 .3rem}"
    "figure{margin:0;width:7rem;font-size:.8rem;line-height:1.3;break-inside:avoid}"
    "figure img,td img{display:block;border-radius:4px}figcaption{margin-top:.3rem}"
    "figcaption b{color:var(--warn)}figcaption span{display:block}"
    ".pair{width:14.3rem}.pair>div{display:flex;gap:4px}"
    ".near{display:flex;gap:2px;margin-top:3px}.near img{width:36px;height:auto;border-radius:2px}"
    "#tip{position:fixed;left:0;top:0;z-index:9;max-width:20rem;padding:.2rem .5rem;"
    "border-radius:4px;background:var(--ink);color:var(--paper);font-size:.8rem;"
    "pointer-events:none;white-space:pre-line;overflow-wrap:anywhere}"
    "@media print{body{max-width:none;margin:0;font-size:12px}.wide{overflow:visible}"
    "svg{max-width:100%;height:auto}.sub{break-after:avoid}*{print-color-adjust:exact;-webkit-"
    "print-color-adjust:exact}"
    "th button::after{content:none!important}}";

/* No angle bracket opens in it, so that a simple reader of HTML can skip it. The titles inside of a
 * chart become its tooltips, also for fingers; a screen reader finds them as labels. */
static const char script[] =
    "(()=>{const all=(s,e)=>Array.from((e||document).querySelectorAll(s));"
    "const value=(r,i)=>{const c=r.cells[i];if(!c)return '';"
    "return c.dataset.v===undefined?c.textContent:c.dataset.v===''?-Infinity:+c.dataset.v};"
    "const order=(a,b)=>typeof a==='number'&&typeof b==='number'?a-b:"
    "String(a).localeCompare(String(b),undefined,{numeric:true});"
    "all('table.sort').forEach(t=>all('th',t).forEach((h,i)=>{"
    "const b=document.createElement('button');b.type='button';b.append(...h.childNodes);"
    "h.append(b);b.addEventListener('click',()=>{"
    "const up=h.getAttribute('aria-sort')==='descending';"
    "all('th',t).forEach(o=>o.removeAttribute('aria-sort'));"
    "h.setAttribute('aria-sort',up?'ascending':'descending');"
    "const body=t.tBodies[0];body.append(...Array.from(body.rows).sort("
    "(x,y)=>(up?1:-1)*order(value(x,i),value(y,i))))})}));"
    "const tip=document.createElement('div');tip.id='tip';tip.hidden=true;"
    "document.body.append(tip);"
    "all('svg title').forEach(t=>{const e=t.parentNode;e.dataset.tip=t.textContent;"
    "e.setAttribute('aria-label',t.textContent);t.remove()});"
    "const show=v=>{const e=v.target.closest?v.target.closest('[data-tip]'):null;"
    "tip.hidden=!e;if(!e)return;tip.textContent=e.dataset.tip;"
    "const w=tip.offsetWidth,h=tip.offsetHeight;"
    "tip.style.left=Math.max(4,Math.min(v.clientX+12,innerWidth-w-4))+'px';"
    "tip.style.top=(v.clientY>h+16?v.clientY-h-10:v.clientY+16)+'px'};"
    "document.addEventListener('pointermove',show);document.addEventListener('pointerdown',show);"
    "})();";

static void put_letter(FILE *out, char letter) {
    switch (letter) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(letter, out);
    }
}

void thaw_page_part(FILE *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        put_letter(out, text[i]);
}

void thaw_page_text(FILE *out, const char *text) {
    thaw_page_part(out, text, strlen(text));
}

void thaw_page_begin(FILE *out, const char *title) {
    fputs(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        "content=\"width=device-width,initial-scale=1\"><title>",
        out);
    thaw_page_text(out, title);
    fprintf(out, "</title><style>%s</style>\n<h1>", style);
    thaw_page_text(out, title);
    fputs("</h1>\n", out);
}

void thaw_page_end(FILE *out) {
    fprintf(out, "<script>%s</script>\n", script);
}

void thaw_page_heading(FILE *out, const char *text) {
    fputs("<h2>", out);
    thaw_page_text(out, text);
    fputs("</h2>\n", out);
}

void thaw_page_note(FILE *out, const char *format, ...) {
    enum { LONGEST = 4096 };
    char text[LONGEST];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fputs("<p class=sub>", out);
    thaw_page_text(out, text);
    fputs("</p>\n", out);
}

void thaw_page_cards_begin(FILE *out) {
    fputs("<div class=cards>\n", out);
}

void thaw_page_card(FILE *out, const char *what, thaw_unit unit, double value) {
    char text[THAW_UNIT_TEXT];
    thaw_unit_text(text, unit, value);
    fputs("<div class=card>", out);
    thaw_page_text(out, what);
    fprintf(out, "<b>%s</b></div>\n", text);
}

void thaw_page_cards_end(FILE *out) {
    fputs("</div>\n", out);
}

void thaw_page_charts_begin(FILE *out) {
    fputs("<div class=charts>\n", out);
}

void thaw_page_charts_end(FILE *out) {
    fputs("</div>\n", out);
}

void thaw_page_table_begin(FILE *out, const char *const *columns, size_t n_texts, size_t n) {
    fputs("<div class=wide><table class=sort><thead><tr>", out);
    for (size_t i = 0; i < n; i++) {
        fputs(i < n_texts ? "<th class=t>" : "<th>", out);
        thaw_page_text(out, columns[i]);
    }
    fputs("</thead><tbody>\n", out);
}

void thaw_page_row(FILE *out) {
    fputs("\n<tr>", out);
}

void thaw_page_cell(FILE *out, const char *text) {
    fputs("<td class=t>", out);
    thaw_page_text(out, text);
}

void thaw_page_figure(FILE *out, thaw_unit unit, double value) {
    char text[THAW_UNIT_TEXT];
    thaw_unit_text(text, unit, value);
    if (isfinite(value))
        fprintf(out, "<td data-v=\"%.9g\">%s", value, text);
    else
        fprintf(out, "<td data-v=\"\">%s", text);
}

void thaw_page_table_end(FILE *out) {
    fputs("\n</tbody></table></div>\n", out);
}

void thaw_page_details_begin(FILE *out, const char *name) {
    fputs("<details><summary>", out);
    thaw_page_text(out, name);
    fputs("</summary>\n", out);
}

void thaw_page_details_end(FILE *out) {
    fputs("</details>\n", out);
}
