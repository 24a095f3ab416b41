"""Opens pages in headless Chromium, at the width of a telephone and of a screen: their scripts must run
without an error, nothing may stick out sideways, letters must be large enough, and no two texts of a
chart may lie on each other. Then sorts a table by clicking.

    test_pages.py FOLDER WRITE_PAGES...    each program, given the FOLDER, makes pages there

Exit code 77, skipped, where there is no Chromium. Needs Python's standard library alone.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

WIDTHS = (400, 1400)
SMALLEST = 9  # Pixels of a letter of 11, shrunk by as much as may be.

# What a page is asked; the answer becomes the title of the frame around it, which --dump-dom prints.
PROBE = """<script>window.addEventListener('load',()=>{
const wrong=[];
if(window.errors.length)wrong.push('script: '+window.errors.join('; '));
const root=document.documentElement;
if(root.scrollWidth>innerWidth)wrong.push('sticks out: '+root.scrollWidth+' of '+innerWidth);
document.querySelectorAll('svg').forEach(svg=>{
  const scale=svg.getBoundingClientRect().width/svg.viewBox.baseVal.width;
  if(!(scale*11>=SMALLEST))wrong.push('letters of '+(scale*11).toFixed(1)+' in '+
    svg.getAttribute('aria-label'));
  const texts=Array.from(svg.querySelectorAll('text')).filter(t=>!t.getAttribute('transform'));
  const boxes=texts.map(t=>t.getBBox()), all=svg.viewBox.baseVal;
  boxes.forEach((b,i)=>{
    if(b.x<-1||b.x+b.width>all.width+1||b.y<-1||b.y+b.height>all.height+1)
      wrong.push('cut off: '+texts[i].textContent+' from '+b.x.toFixed(1)+' to '+(b.x+b.width).toFixed(1)+' of '+all.width);
    for(let k=0;k<i;k++){const c=boxes[k];
      if(b.x+1<c.x+c.width&&c.x+1<b.x+b.width&&b.y+2<c.y+c.height&&c.y+2<b.y+b.height)
        wrong.push('on each other: '+texts[i].textContent+' and '+texts[k].textContent);}});
});
let sorted=0;
document.querySelectorAll('table.sort').forEach(t=>t.querySelectorAll('th').forEach((h,i)=>{
  const b=h.querySelector('button');
  if(!b){wrong.push('no button in '+h.textContent);return;}
  b.click();
  const v=Array.from(t.tBodies[0].rows).map(r=>r.cells[i]&&r.cells[i].dataset.v);
  const n=v.filter(x=>x).map(Number);
  if(n.some((x,k)=>k&&x>n[k-1]))wrong.push('not sorted by '+h.textContent);
  sorted++;
}));
const titles=document.querySelectorAll('svg title').length;
const tips=document.querySelectorAll('svg [data-tip]').length;
if(titles)wrong.push(titles+' titles are left');
parent.postMessage(JSON.stringify({wrong:wrong.slice(0,20),sorted,tips,width:innerWidth}),'*');
});</script>"""
# A window has a least width, a frame has none.
FRAME = """<!doctype html><title></title><iframe src="probed.html" width="WIDTH" height="2000"
style="border:0"></iframe><script>onmessage=e=>{document.title='PROBED '+e.data};</script>"""
CATCH = "<script>window.errors=[];window.onerror=m=>{window.errors.push(m)};</script>"


def find_chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


def probe(chromium, page, folder, width):
    """Returns what is wrong with a page, how many columns were sorted, and how many tips it has."""
    text = open(page, encoding="utf-8", errors="replace").read()
    assert text.startswith("<!doctype html><html lang=en><meta charset=utf-8>"), page
    head = "<!doctype html><html lang=en><meta charset=utf-8>"
    probed = os.path.join(folder, "probed.html")
    with open(probed, "w", encoding="utf-8") as file:
        script = PROBE.replace("SMALLEST", str(SMALLEST))
        file.write(head + CATCH + text[len(head):] + script)
    frame = os.path.join(folder, "frame.html")
    with open(frame, "w", encoding="utf-8") as file:
        file.write(FRAME.replace("WIDTH", str(width)))
    with tempfile.TemporaryDirectory() as profile:
        run = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--hide-scrollbars", f"--user-data-dir={profile}", "--window-size=1600,2100",
             "--virtual-time-budget=5000", "--dump-dom", "file://" + os.path.abspath(frame)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=False)
    found = re.search(r"<title>PROBED (\{.*?\})</title>", run.stdout.decode("utf-8", "replace"))
    if not found:
        return {"wrong": [f"Chromium says nothing (exit code {run.returncode})"], "sorted": 0, "tips": 0}
    answer = found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(answer)


def main():
    chromium = find_chromium()
    if not chromium:
        print("SKIPPED: there is no Chromium: apt-get install chromium")
        return 77
    folder, *writers = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    for write_pages in writers:
        subprocess.run([write_pages, folder], check=True)
    pages = sorted(name for name in os.listdir(folder) if name.startswith("page-"))
    assert pages, "no pages were written"
    bad = columns = tips = 0
    for name in pages:
        for width in WIDTHS:
            answer = probe(chromium, os.path.join(folder, name), folder, width)
            if answer.get("width") != width:
                answer["wrong"].append(f"the window is {answer.get('width')} wide")
            for wrong in answer["wrong"]:
                print(f"{name} at {width}: {wrong}")
            bad += len(answer["wrong"])
            columns += answer["sorted"]
            tips += answer["tips"]
    print(f"{len(pages)} pages at {len(WIDTHS)} widths, {columns} columns sorted, {tips} tips, {bad} wrong")
    assert columns and tips
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
