"""The report's page (Jinja2, autoescaped)."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #8885; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
small { color: color-mix(in srgb, CanvasText 70%, Canvas); }
.note, figcaption, dl { color: color-mix(in srgb, CanvasText 70%, Canvas); font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.sliders { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; }
.slider { position: relative; width: fit-content; background: #000; }
.slider img { display: block; max-width: 100%; }
.slider .after { position: absolute; inset: 0; clip-path: inset(0 0 0 50%); }
.slider input { width: 100%; margin: .4rem 0 0; display: block; }
.frame { position: relative; }
.picture { max-width: 100%; }
svg { background: #fff; } svg text { font: 11px sans-serif; fill: #333; }
</style>
</head>
<body>
<h1>{{ report.title }}</h1>
<p class="note">Research use only. Made by Radiolucent.</p>
{% for note in report.notes %}
<p class="note">{{ note }}</p>
{% endfor %}
{% for text, file in report.links %}
<p><a href="{{ file }}">{{ text }}</a></p>
{% endfor %}
{% for table in tables %}
<h2>{{ table.title }}</h2>
{% if table.note %}<p class="note">{{ table.note }}</p>{% endif %}
<div class="table"><table>
<thead><tr>{% for column in table.columns %}<th scope="col">{{ column }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for value, bounds in row %}<td>{{ value }}{% if bounds %}<br><small>{{ bounds }}</small>{% endif %}</td>
{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endfor %}
{% for chart in charts %}
<h2>{{ chart.title }}</h2>
<svg width="420" height="240" role="img" aria-label="{{ chart.title }}">
<path d="M60 10V200H410" fill="none" stroke="#333"/>
<polyline points="{% for p in chart.line %}{{ p[0] }},{{ p[1] }} {% endfor %}" stroke="#c33" fill="none"/>
{% for p in chart.points %}<circle cx="{{ p[0] }}" cy="{{ p[1] }}" r="3.5" fill="#236"/>{% endfor %}
<text x="4" y="24">{{ chart.high }}</text><text x="4" y="204">{{ chart.low }}</text>
<text x="60" y="216">0</text><text x="370" y="216">{{ chart.right }}</text>
<text x="180" y="232">{{ chart.x_label }}</text><text x="66" y="12">{{ chart.y_label }}</text>
</svg>
{% endfor %}
{% if sliders %}
<h2>Before and after</h2>
<div class="sliders">
{% for s in sliders %}
<figure>
<div class="slider"><div class="frame"><img src="{{ s.before }}" alt="{{ s.title }}: {{ s.labels[0] }}">
<img class="after" src="{{ s.after }}" alt="{{ s.title }}: {{ s.labels[1] }}"></div>
<input type="range" min="0" max="100" value="50"
aria-label="{{ s.title }}: {{ s.labels[0] }} to {{ s.labels[1] }}"></div>
<figcaption>{{ s.title }} (left: {{ s.labels[0] }}, right: {{ s.labels[1] }})</figcaption>
</figure>
{% endfor %}
</div>
{% endif %}
{% for picture in pictures %}
<h2>{{ picture.title }}</h2>
<img class="picture" src="{{ picture.source }}" alt="{{ picture.title }}">
{% endfor %}
<h2>Settings</h2>
<dl>
{% for name, value in report.settings.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
<script>
for (const slider of document.querySelectorAll(".slider")) {
  const input = slider.querySelector("input"), after = slider.querySelector(".after");
  input.addEventListener("input", () => { after.style.clipPath = `inset(0 0 0 ${input.value}%)`; });
}
</script>
</body>
</html>
"""
