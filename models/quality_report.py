"""The figures of quality.py as text, as one HTML file, and in words."""
import html
import math

import classifier as judge
import quality_measure as measure

COLUMNS = (
    ("kept", "share of query-key pairs of chunks 2.. that is computed", "{:.3f}"),
    ("forced PSNR", "teacher-forced, against dense, dB", "{:.2f}"),
    ("forced SSIM", "teacher-forced, against dense", "{:.4f}"),
    ("forced latent", "teacher-forced, relative error of latents", "{:.4f}"),
    ("free PSNR", "free-running, against dense, dB", "{:.2f}"),
    ("free SSIM", "free-running, against dense", "{:.4f}"),
    ("free latent", "free-running, relative error of latents", "{:.4f}"),
    ("PSNR to first", "free-running, against dense attention of the first file, dB", "{:.2f}"),
    ("score", "classifier: mean share of attributes right", "{:.3f}"),
    ("motion", "mean block flow, pixels a second", "{:.2f}"),
    ("flicker", "(255 - MAE) / 255 between neighbouring pictures", "{:.4f}"),
)
BETTER = {"forced PSNR": 1, "forced SSIM": 1, "forced latent": -1, "free PSNR": 1, "free SSIM": 1, "free latent": -1,
          "score": 1}


def value(setting, name):
    if name == "kept":
        return setting.get("kept")
    if name == "score":
        return setting.get("mean score")
    v = setting["values"].get(name)
    return measure.average(v) if v else None


def shown(x, form):
    return "-" if x is None else form.format(x)


def ablation(f):
    """Rows of the table of one file: name and a cell for each column; columns without figures are left out."""
    columns = [c for c in COLUMNS if any(value(s, c[0]) is not None for s in f["settings"].values())]
    rows = [[name] + [shown(value(s, c[0]), c[2]) for c in columns] for name, s in f["settings"].items()]
    return ["setting"] + [c[0] for c in columns], rows


def score_rows(result):
    rows = []
    parts = [("rendered clips (ceiling)", result["rendered"])]
    for f in result["files"]:
        parts += [(f"{f['name']} {name}".strip(), s) for name, s in f["settings"].items()]
    for name, s in parts:
        if "score" in s:
            rows.append([name] + [f"{s['score'][k]['share'] * 100:.1f}" if s["score"][k]["count"] else "-"
                                  for k in judge.CLASSES] + [f"{s['mean score'] * 100:.1f}"])
    return ["% right"] + list(judge.CLASSES) + ["mean"], rows


def drift_rows(f):
    """Change from the first ten seconds to the last, and what flicker and flow become."""
    rows = []
    for name, d in f["drift"].items():
        first, last = d["rows"][0], d["rows"][-1]
        pair = lambda k, form: f"{form.format(measure.average(first[k]))} > {form.format(measure.average(last[k]))}"
        rows.append([name, f"{measure.change(d['rows'], 'mean'):.2f}", f"{measure.change(d['rows'], 'deviation'):.2f}",
                     pair("mean", "{:.1f}"), pair("deviation", "{:.1f}"), pair("flicker", "{:.4f}"),
                     pair("flow", "{:.1f}")])
    return ["setting", "|change of mean|", "|change of deviation|", "mean", "deviation", "flicker", "flow px/s"], rows


def table_text(head, rows):
    width = [max(len(str(r[i])) for r in [head] + rows) for i in range(len(head))]
    line = lambda r: "  ".join(str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(r, width)))
    return "\n".join(line(r) for r in [head] + rows)


# ----------------------------------------------------------------------- in words
def paired(a, b):
    """Mean difference of two lists, a - b, and its standard error."""
    d = [x - y for x, y in zip(a, b)]
    mean = measure.average(d)
    if len(d) < 2:
        return mean, math.inf
    return mean, math.sqrt(sum((x - mean) ** 2 for x in d) / (len(d) - 1) / len(d))


def judged(a, b, names):
    """Compare two settings, prompt by prompt -> verdict, sentence.  Better means by more than two standard errors."""
    parts, better, worse = [], 0, 0
    for name in names:
        if name not in a["values"] or name not in b["values"]:
            continue
        mean, error = paired(a["values"][name], b["values"][name])
        gain = mean * BETTER[name]
        sign = 1 if gain > 2 * error else -1 if gain < -2 * error else 0
        better, worse = better + (sign > 0), worse + (sign < 0)
        parts.append(f"{name} {mean:+.3f} (standard error {error:.3f})")
    if better and not worse:
        verdict = "agrees"
    elif worse and not better:
        verdict = "disagrees"
    else:
        verdict = "mixed" if better else "no difference beyond chance"
    return verdict, ", ".join(parts)


CLAIMS = (("Chunk-Aware Growth is better than uniform sparsity at equal budget", "CAG", "uniform"),
          ("Hierarchical selection is better than one stage at equal budget", "CAG+HSA", "CAG"),
          ("Both together are better than uniform one-stage selection", "CAG+HSA", "uniform"))
MAIN = ("forced PSNR", "forced latent", "free PSNR", "free latent", "score")


def words(result):
    """Sentences on the paper's claims, each computed from the figures: [(verdict, text)]."""
    out = []
    for f in result["files"]:
        s, label = f["settings"], f" ({f['name']})" if f["name"] else ""
        for target in sorted({name.split()[0] for name in s if " " in name}):
            for title, a, b in CLAIMS:
                verdict, text = judged(s[f"{target} {a}"], s[f"{target} {b}"], MAIN)
                kept = f"kept {s[f'{target} {a}']['kept']:.3f} against {s[f'{target} {b}']['kept']:.3f} of the pairs"
                out.append((verdict, f"{title}, {target}{label}: {text}; {kept}."))
            if "mean score" in s["dense"]:
                d, e = s["dense"]["mean score"], s[f"{target} CAG+HSA"]["mean score"]
                out.append(("figure", f"Following the prompt, {target}{label}: dense {d * 100:.1f} % of attributes "
                                      f"right, CAG+HSA {e * 100:.1f} %, the rendered clips "
                                      f"{result['rendered']['mean score'] * 100:.1f} %."))
    if len(result["files"]) == 2:
        one, two = (f["settings"] for f in result["files"])
        for name in one:
            if name in two and name != "dense":
                verdict, text = judged(two[name], one[name], MAIN)
                near = ""
                if "PSNR to first" in two[name]["values"]:
                    mean, error = paired(two[name]["values"]["PSNR to first"], one[name]["values"]["free PSNR"])
                    near = (f"; against dense attention of the first file, free-running: {mean:+.3f} dB "
                            f"(standard error {error:.3f})")
                out.append((verdict, f"Sparse fine-tuning recovers quality, {name}, each against its own dense: "
                                     f"{text}{near}."))
    for f in result["files"]:
        label = f" ({f['name']})" if f["name"] else ""
        for name, d in f["drift"].items():
            if name == "dense" or name.endswith("HSA"):
                first, last = d["rows"][0], d["rows"][-1]
                mean = lambda r, k: measure.average(r[k])
                moved = mean(last, "flow") / max(1e-6, mean(first, "flow"))
                held = (measure.change(d["rows"], "mean") < 8 and measure.change(d["rows"], "deviation") < 8
                        and 0.5 < moved < 2)
                out.append(("holds" if held else "drifts",
                            f"Stream of {result['seconds']} s, {name}{label}: mean changes by "
                            f"{measure.change(d['rows'], 'mean'):.1f} of 255, deviation by "
                            f"{measure.change(d['rows'], 'deviation'):.1f}, motion to {moved * 100:.0f} % of the "
                            f"first ten seconds (holds: both below 8, motion between half and twice)."))
    return out


# ------------------------------------------------------------------------- output
def text(result):
    out = []
    for f in result["files"]:
        out += [f"\n{f['name'] or f['path']}: {len(result['prompts'])} prompts, {result['pictures']} pictures",
                table_text(*ablation(f))]
        if f["drift"]:
            out += [f"\nstreams of {result['seconds']} s, first ten seconds against last", table_text(*drift_rows(f))]
    head, rows = score_rows(result)
    if rows:
        out += ["\nwhat the classifier sees, of what the prompt says", table_text(head, rows)]
        for name, s in [("rendered", result["rendered"])] + [(f["name"] or f["path"], f["settings"]["dense"])
                                                              for f in result["files"]]:
            wrong = [f"{k}: {v['mistakes']}" for k, v in s["score"].items() if v["mistakes"]]
            out.append(f"taken for another, {name}: " + "; ".join(wrong))
    still = result["rendered"]["values"]
    out.append(f"rendered clips of the same scenes: motion {measure.average(still['motion']):.2f} pixels a second, "
               f"flicker {measure.average(still['flicker']):.4f}")
    out.append("\nthe paper's claims at this scale")
    out += [f"[{verdict}] {sentence}" for verdict, sentence in result["words"]]
    return "\n".join(out)


STYLE = """body{font:15px/1.45 sans-serif;max-width:1180px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:.6em 0;font-size:13px}
td,th{border:1px solid #ccc;padding:.2em .5em;text-align:right}
td:first-child,th:first-child{text-align:left}th{background:#eee}img{display:block;max-width:100%}
.agrees,.holds{color:#17692a}.disagrees,.drifts{color:#a31515}.mixed,.figure{color:#555}
.map td{width:1.6em;height:1.2em;padding:0;text-align:center;font-size:10px}"""


TITLE = "Sparse attention of the default model"
SETTINGS_TEXT = """The first chunk is dense in every setting; figures against dense attention are of the chunks after
it. Uniform: one-stage top blocks with one sparsity in all chunks. CAG: sparsity that grows with the chunk, at the same
budget over the video. HSA: two stages, frames first. Teacher-forced: each chunk from dense attention's past; free: from
its own."""
WORDS_TEXT = """Agreement with the paper means better by more than two standard errors over the prompts in at least one
of the measures and worse in none; kept is the share of query-key pairs computed in the chunks after the first. The
paper judges big models by other measures; here nearness to dense attention and a classifier stand for them."""
MAP_TEXT = """First prompt, first pass of each chunk, the sparsest setting with HSA. A row is a chunk, a column a latent
frame since the start; the number is the share of the chunk's query blocks (in %) that may attend to this frame; empty:
not in the window."""
SCORE_TEXT = """Of what the prompts say. The classifier was trained on rendered clips only; the first row is its score
on the same scenes as the renderer makes them: no model can be expected to score higher."""


def table_html(head, rows, titles=None):
    cell = lambda tag, c, t="": f"<{tag}{t}>{html.escape(str(c))}</{tag}>"
    titles = titles or {}
    out = "".join(cell("th", h, f' title="{html.escape(titles[h])}"' if h in titles else "") for h in head)
    return (f"<table><tr>{out}</tr>" + "".join("<tr>" + "".join(cell("td", c) for c in r) + "</tr>" for r in rows)
            + "</table>")


def picture_html(title, data):
    title = html.escape(title)
    return f"<p>{title}</p><img alt='{title}' src='data:image/jpeg;base64,{data}'>"


def map_html(f):
    if not f["map"]:
        return ""
    last = max(n for r in f["map"] for n in r["frames"]) + 1
    out = [f"<h3>Frames that layer {f['layer']}, head {f['head']} looks at</h3><p>{MAP_TEXT}</p>",
           '<table class="map"><tr><th>chunk</th>' + "".join(f"<th>{i}</th>" for i in range(last)) + "</tr>"]
    for r in f["map"]:
        cells = []
        for i in range(last):
            share = r["frames"].get(i)
            if share is None:
                cells.append("<td></td>")
            else:
                c = round(255 - 165 * share)
                cells.append(f'<td style="background:rgb({c},{c},255)">{share * 100:.0f}</td>')
        out.append(f"<tr><td>{r['chunk']}</td>" + "".join(cells) + "</tr>")
    return "\n".join(out) + "</table>"


def page(result):
    e = html.escape
    n = len(result["prompts"])
    out = ["<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>",
           f"<title>{TITLE}</title><style>{STYLE}</style></head><body><h1>{TITLE}</h1>",
           f"<p>{n} prompts of combinations held out of the training, {result['pictures']} pictures each, from the "
           f"same noise; {e(result['device'])}. {SETTINGS_TEXT}</p><h2>In words</h2><p>{WORDS_TEXT}</p><ul>"]
    for verdict, sentence in result["words"]:
        out.append(f'<li><b class="{verdict.split()[0]}">{e(verdict)}</b>: {e(sentence)}</li>')
    out.append("</ul>")
    titles = {c[0]: c[1] for c in COLUMNS}
    for f in result["files"]:
        out += [f"<h2>{e(f['name'] or f['path'])}</h2><p>{e(f['path'])}, cache {e(str(f['cache']))}</p>",
                table_html(*ablation(f), titles), map_html(f)]
        if f["drift"]:
            out += [f"<h3>Streams of {result['seconds']} seconds</h3><p>{result['streams']} prompts; the first ten "
                    "seconds against the last.</p>", table_html(*drift_rows(f))]
            for name, d in f["drift"].items():
                out.append(picture_html(f"{name}, a picture every ten seconds", d["jpeg"]))
    head, rows = score_rows(result)
    if rows:
        out += [f"<h2>What the classifier sees</h2><p>{SCORE_TEXT}</p>",
                table_html(head, rows), "<h3>Taken for another</h3>"]
        parts = [("rendered", result["rendered"])]
        for f in result["files"]:
            parts += [(f"{f['name']} {k}", s) for k, s in f["settings"].items() if k == "dense" or k.endswith("HSA")]
        for name, s in parts:
            out.append(table_html([name, "right", "of", "mistakes"], [
                [k, shown(v["share"], "{:.3f}"), v["count"], v["mistakes"] or "none"] for k, v in s["score"].items()]))
    still = result["rendered"]["values"]
    out.append(f"<p>Rendered clips of the same scenes: motion {measure.average(still['motion']):.2f} pixels a second, "
               f"flicker {measure.average(still['flicker']):.4f}.</p>")
    for f in result["files"]:
        out.append(f"<h2>Pictures {e(f['name'])}</h2>")
        for s in f["sheets"]:
            out.append(f"<h3>{e(s['prompt'])}</h3>")
            out += [picture_html(r["name"], r["jpeg"]) for r in s["rows"]]
    out.append("<h2>Prompts</h2><ol>" + "".join(f"<li>{e(p)}</li>" for p in result["prompts"]) + "</ol></body></html>")
    return "\n".join(out)


def without_pictures(x):
    """The result for JSON."""
    if isinstance(x, dict):
        return {str(k): without_pictures(v) for k, v in x.items() if k not in ("jpeg", "sheets")}
    if isinstance(x, (list, tuple)):
        return [without_pictures(v) for v in x]
    return x
