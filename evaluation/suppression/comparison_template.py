"""The page of sliders with all methods to choose from (Jinja2, autoescaped)."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Before and after, page {{ page }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1400px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; }
.note, figcaption { color: color-mix(in srgb, CanvasText 70%, Canvas); font-size: .9rem; }
.all { position: sticky; top: 0; padding: .4rem 0; background: Canvas; z-index: 1; }
.figures { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; max-width: 640px; }
.frame { position: relative; width: fit-content; background: #000; }
.frame img { display: block; max-width: 100%; }
.frame .after { position: absolute; inset: 0; clip-path: inset(0 0 0 50%); }
.choose { display: flex; justify-content: space-between; }
input[type=range] { width: 100%; margin: .4rem 0 0; display: block; }
td, th { padding: .1rem .6rem; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; }
</style>
</head>
<body>
<h1>Before and after, page {{ page }}</h1>
<p class="note">Research use only. Made by Radiolucent. Gains are in dB over doing nothing.</p>
<p>
{% if page > 1 %}<a href="{{ previous }}" rel="prev">previous page</a>{% endif %}
{% if next %}<a href="{{ next }}" rel="next">next page</a>{% endif %}
</p>
{% macro choice(side, chosen) %}
<select aria-label="{{ side }} image" data-side="{{ side }}">
{% for role in roles %}<option{% if role == chosen %} selected{% endif %}>{{ role }}</option>{% endfor %}
</select>
{% endmacro %}
<p class="all">All images: left {{ choice("left", roles[0]) }} right {{ choice("right", roles[-1]) }}</p>
<div class="figures">
{% for image in images %}
<figure class="compare">
<div class="frame"><img class="before" alt="{{ image.name }}: left image">
<img class="after" alt="{{ image.name }}: right image"></div>
<input type="range" min="0" max="100" value="50" aria-label="{{ image.name }}: left to right image">
<div class="choose">{{ choice("left", roles[0]) }}{{ choice("right", roles[-1]) }}</div>
<figcaption>{{ image.name }}
<table><thead><tr><th></th>{% for figure in figures %}<th scope="col">{{ figure }}</th>{% endfor %}</tr></thead><tbody>
{% for method, values in image.rows %}
<tr><td>{{ method }}</td>{% for value in values %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></figcaption>
<script type="application/json">{{ image.pictures | tojson }}</script>
</figure>
{% endfor %}
</div>
<script>
for (const figure of document.querySelectorAll(".compare")) {
  const pictures = JSON.parse(figure.querySelector("script").textContent);
  const shown = {left: figure.querySelector(".before"), right: figure.querySelector(".after")};
  const range = figure.querySelector("input");
  range.addEventListener("input", () => { shown.right.style.clipPath = `inset(0 0 0 ${range.value}%)`; });
  for (const select of figure.querySelectorAll("select")) {
    const show = () => { shown[select.dataset.side].src = pictures[select.value]; };
    select.addEventListener("change", show);
    show();
  }
}
for (const all of document.querySelectorAll(".all select"))
  all.addEventListener("change", () => {
    for (const select of document.querySelectorAll(`.compare select[data-side=${all.dataset.side}]`)) {
      select.value = all.value;
      select.dispatchEvent(new Event("change"));
    }
  });
</script>
</body>
</html>
"""
