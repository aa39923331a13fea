"""The status page's HTML, from one template; every value is escaped."""

from jinja2 import Environment, StrictUndefined

from headrace.server.status import Status

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Headrace</title>
<style>
:root { color-scheme: light dark; --ink: #1c2733; --dim: #64748b; --line: #d8dee6; --paper: #fbfcfd; --good: #14784a; --bad: #b3261e; --wait: #96650a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --dim: #94a3b8; --line: #2d3743; --paper: #12171d; --good: #4cc38a; --bad: #ff8a80; --wait: #e5b454; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 0 auto; padding: 1.5rem; }
header { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: baseline; border-bottom: 1px solid var(--line); padding-bottom: .75rem; }
h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 500; color: var(--dim); }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.dim { color: var(--dim); } .good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); }
code { font: .9em ui-monospace, monospace; } a { color: inherit; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
<header>
<h1>Headrace</h1>
<span>business time <strong>{{ status.clock.now.strftime("%Y-%m-%d %H:%M") }}</strong>{% if status.clock.replayed %} <span class="wait">replayed</span>{% endif %}</span>
<span class="dim">{{ status.gateways | length }} gateway{{ "" if status.gateways | length == 1 else "s" }}, {{ status.jobs }} job{{ "" if status.jobs == 1 else "s" }} under way</span>
<span class="dim"><a href="/api/openapi.json">API</a></span>
</header>

<h2>Models</h2>
{% if status.models %}
<table>
<tr><th>model</th><th>in production</th><th class="number">versions</th><th>changed</th></tr>
{% for model in status.models %}
<tr><td><strong>{{ model.name }}</strong>{% if model.description %}<br><span class="dim">{{ model.description }}</span>{% endif %}</td>
<td>{% if model.production %}<span class="good">{{ model.name }}@{{ model.production }}</span>{% else %}<span class="dim">nothing</span>{% endif %}</td>
<td class="number">{{ model.latest_number }}</td><td class="dim">{{ model.updated_at.strftime("%Y-%m-%d %H:%M") }}</td></tr>
{% endfor %}
</table>
{% else %}
<p class="dim">None yet. Apply a project: <code>headrace apply project.py</code>, or log with MLflow: <code>mlflow.set_tracking_uri(…)</code> with this page's address.</p>
{% endif %}

{% if status.releases %}
<h2>Releases under way</h2>
<table>
<tr><th>version</th><th>stands at</th><th class="number">traffic</th><th>since</th></tr>
{% for release in status.releases %}
<tr><td>{{ release.model }}@{{ release.number }}</td><td class="wait">{{ release.phase.replace("_", " ") }}{% if release.reason %} <span class="dim">{{ release.reason }}</span>{% endif %}</td>
<td class="number">{{ release.weight_percent }} %</td><td class="dim">{{ release.updated_at.strftime("%Y-%m-%d %H:%M") }}</td></tr>
{% endfor %}
</table>
{% endif %}

{% if status.alerts %}
<h2>Open alerts</h2>
<table>
<tr><th>model</th><th>monitor</th><th>what</th><th>first window</th></tr>
{% for alert in status.alerts %}
<tr><td>{{ alert.model }}</td><td class="bad">{{ alert.name }}</td><td>{{ alert.summary }}</td><td class="dim">{{ alert.window_start.strftime("%Y-%m-%d") }} to {{ alert.window_end.strftime("%Y-%m-%d") }}</td></tr>
{% endfor %}
</table>
{% endif %}

<h2>Latest events</h2>
<table>
<tr><th class="number">seq</th><th>event</th><th>subject</th><th>by</th><th>time</th></tr>
{% for event in status.events %}
<tr><td class="number dim">{{ event.seq }}</td><td>{{ event.type }}</td><td><code>{{ event.subject }}</code></td><td>{{ event.actor }}</td><td class="dim">{{ event.at.strftime("%H:%M:%S") }}</td></tr>
{% endfor %}
</table>
</body>
</html>
"""


def render(status: Status) -> str:
    """The whole page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE).render(status=status)
