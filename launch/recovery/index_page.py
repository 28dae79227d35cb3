"""index.html of a folder of answers: a self-contained table that sorts and filters.

Rows are data, one a line.  The page shows a hundred at a time, so that a hundred thousand maps
load quickly.  Clouds are in files of their own, which `cloud_views.js` draws when they are scrolled
to.  Names and errors of maps are inserted as text, never as HTML.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote


def row(answer: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """One line of the page's data.

    Args:
      answer: the contents of the JSON of a map.
      links: paths of the saved files, relative to the page.
    """
    data = [
        answer["input"],
        answer["focal_px"],
        answer["focal_interval_px"],
        answer["fov_x_deg"],
        answer["shift"],
        answer["shift_interval"],
        " ".join(answer["flags"]),
        answer["error"],
        {kind: quote(path, errors="surrogateescape") for kind, path in links.items()},
    ]
    # "<" could end the script; outside of strings JSON has none.
    return json.dumps(data).replace("<", "\\u003c") + ",\n"


HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Recovered shapes</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff }
table { border-collapse: collapse }
th, td { padding: .35em .8em; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }
th { position: sticky; top: 0; background: #f3f3f3; cursor: pointer; white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td small { color: #777; display: block }
td img { height: 150px; display: block }
td.name { min-width: 11em; max-width: 24em; overflow-wrap: anywhere }
.error { color: #a00; max-width: 24em }
td.clouds { min-width: 492px; height: 222px }
.views { display: flex; flex-wrap: wrap; gap: 0 6px }
.views figure { margin: 0 } .views figcaption, .views p { font-size: 12px; color: #777; margin: 0 }
.views canvas { display: block; width: 240px; height: 180px; border: 1px solid #ddd;
  touch-action: pan-y; cursor: grab }
.views p { width: 100% } .views button { font-size: 11px; margin-right: .5em }
.views .message { color: #a00; overflow-wrap: anywhere }
.views.large { position: fixed; inset: 2vh 2vw; z-index: 1; padding: 1em; background: #fff;
  border: 1px solid #777 }
.views.large figure { width: calc(50% - 3px) } .views.large canvas { width: 100%; height: 85vh }
nav { margin: .8em 0 } nav * { margin-right: .6em }
</style>
<h1>Recovered shapes</h1>
<nav><input id="filter" placeholder="name, flag or error" size="28">
<button id="back">&lsaquo;</button><span id="place"></span><button id="on">&rsaquo;</button></nav>
<table><thead><tr id="heads"></tr></thead><tbody id="body"></tbody></table>
<noscript>This table needs JavaScript; summary.csv holds the same.</noscript>
<script>
"use strict";
const data = [
"""

_TAIL = """const PAGE = 100;
// Head, and what to sort by; column 8 holds the files.
const columns = [
  ["input", 0], ["focal length, px", 1], ["field of view, degrees", 3], ["shift", 4], ["flags", 6],
];
const HAS_CLOUDS = data.some(row => "view" in row[8]);
if (HAS_CLOUDS) columns.push(["given and recovered", null]);
columns.push(["files", null]);
let shown = data.slice(), start = 0, sorted = null, rising = true;
const $ = id => document.getElementById(id);
function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function number(value, digits, interval) {
  const cell = element("td", value === null ? "" : value.toFixed(digits), "number");
  if (interval) cell.append(element("small", interval.map(v => v.toFixed(digits)).join(" to ")));
  return cell;
}
function files(links) {
  const cell = element("td");
  for (const [kind, path] of Object.entries(links)) {
    if (kind === "view") continue;  // drawn, not linked
    const link = element("a");
    link.href = path;
    if (kind === "picture" || kind === "turntable") {
      const image = element("img");
      image.loading = "lazy";
      image.src = path;
      image.alt = kind;
      link.append(image);
    } else link.append(kind + " ");
    cell.append(link);
  }
  return cell;
}
function clouds(links) {
  const cell = element("td", null, "view" in links ? "clouds" : "");
  if ("view" in links) cell.append(cloudViews.element(links.view));
  return cell;
}
function draw() {
  cloudViews.clear();
  $("body").replaceChildren(...shown.slice(start, start + PAGE).map(row => {
    const line = element("tr");
    const [input, focal, focals, fov, shift, shifts, flags, error, links] = row;
    line.append(element("td", input, "name"));
    if (error === null) {
      line.append(number(focal, 1, focals), number(fov, 2), number(shift, 4, shifts));
    } else {
      const cell = element("td", error, "error");
      cell.colSpan = 3;
      line.append(cell);
    }
    line.append(element("td", flags));
    if (HAS_CLOUDS) line.append(clouds(links));
    line.append(files(links));
    return line;
  }));
  const last = Math.min(start + PAGE, shown.length);
  $("place").textContent = `${shown.length ? start + 1 : 0} to ${last} of ${shown.length}`;
  $("back").disabled = start === 0;
  $("on").disabled = last === shown.length;
}
function order() {
  const wanted = $("filter").value.toLowerCase();
  shown = data.filter(row => [0, 6, 7].some(c => (row[c] || "").toLowerCase().includes(wanted)));
  if (sorted !== null) {
    // What has no value comes last, whichever way.
    shown.sort((one, other) => {
      const [a, b] = [one[sorted], other[sorted]];
      if (a === null || b === null) return (a === null) - (b === null);
      return (a < b ? -1 : a > b ? 1 : 0) * (rising ? 1 : -1);
    });
  }
  start = 0;
  draw();
}
for (const [name, column] of columns) {
  const head = element("th", name);
  if (column !== null) head.onclick = () => {
    rising = sorted === column ? !rising : true;
    sorted = column;
    [...$("heads").children].forEach((other, i) => { other.textContent = columns[i][0]; });
    head.textContent = name + (rising ? " \\u25b2" : " \\u25bc");
    order();
  };
  $("heads").append(head);
}
$("filter").oninput = order;
$("back").onclick = () => { start -= PAGE; draw(); };
$("on").onclick = () => { start += PAGE; draw(); };
draw();
</script>
</html>
"""

TAIL = f"];\n{Path(__file__).with_name('cloud_views.js').read_text('utf-8')}{_TAIL}"
"""What follows the rows."""
