#!/usr/bin/env python3
# lightforce: writes tokenizer.model, a small SentencePiece model for tests, and
# tokenizer-cases.json, the ids that the Python library makes of some prompts with it
#
# SPDX-License-Identifier: LGPL-2.1-or-later
#
#   make_tokenizer.py OUT_DIR
#
# Needs sentencepiece; the tests use the files it made.
import html
import io
import itertools
import json
import os
import re
import sys
import tempfile

import sentencepiece

SUBJECTS = ["a red fox", "an old sailor", "two children", "a paper boat", "the night train",
            "a glass marble", "three grey herons", "a street musician"]
ACTIONS = ["runs along the beach", "waits at the harbour", "turns slowly in the wind",
           "crosses a wooden bridge", "looks out of the window", "drifts down a narrow river",
           "walks through tall grass"]
MOODS = ["at dawn", "in heavy rain", "under falling snow", "in warm evening light",
         "while the camera moves closer", "seen from far above", "in slow motion"]


def sentences():
    for n, (s, a, m) in enumerate(itertools.product(SUBJECTS, ACTIONS, MOODS)):
        yield f"{s.capitalize()} {a} {m}." if n % 3 else f"{s} {a}, {m}, {n % 10} birds overhead"


# A normalizer of its own, as in the published model: full-width letters and some ligatures.
RULES = [(0xFF01 + i, [0x21 + i]) for i in range(94)] + [(0xFB01, [0x66, 0x69]), (0x2026, [0x2E] * 3),
                                                        (0x3000, [0x20])]


def train():
    out = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        for code, to in RULES:
            rules.write(f"{code:X}\t{' '.join(f'{c:X}' for c in to)}\n")
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(), model_writer=out, model_type="unigram", vocab_size=360,
            byte_fallback=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0,
            normalization_rule_tsv=rules.name, minloglevel=2)
    return out.getvalue()


PROMPTS = [
    "", " ", "A red fox runs along the beach at dawn.", "a red fox", "A  red\tfox\n\nruns ",
    "zebra quartz: 42 jumps!", "a fox \U0001F98A in the snow \u2744\ufe0f", "\U0001F469\u200d\U0001F680",
    "caf\u00e9 na\u00efve \u0142\u00f3d\u017a", "\u72d0\u72f8\u5728\u96ea\u4e2d\u5954\u8dd1", "\u0440\u044b\u0436\u0430\u044f \u043b\u0438\u0441\u0430",
    "\uff32\uff45\uff44 \ufb01nd\u2026", "salt &amp; pepper", "salt &amp;amp; pepper",
    "&lt;b&gt;fox&lt;/b&gt; &quot;red&quot; &#39;old&#39; &#x1F98A; &copy &eacute;",
    "&amp;amp;amp;", "fish & chips &nosuch; &; &# &#x; &#xZ;", "&#0;&#x110000;&#xD800;&#128;&#1;end",
    "a\u00a0red\u2003fox\u3000runs\u2028now\x0b\x1c\x85", "&nbsp;trimmed&nbsp;", "&notit; &notin; &ampere",
    "x" * 100, "fox " * 60, "\u2581under\u2581score", "<pad> </s> <unk> <0x41>",
]


def main(out):
    model = train()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    cases = []
    for prompt in PROMPTS:
        clean = re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()
        for limit in (512, 8, 1):
            ids = processor.encode(clean)[:limit - 1] + [1]
            cases.append(dict(prompt=prompt, clean=clean, max=limit, ids=ids))
    with open(os.path.join(out, "tokenizer.model"), "wb") as f:
        f.write(model)
    with open(os.path.join(out, "tokenizer-cases.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    print(len(model), "bytes,", processor.get_piece_size(), "pieces,", len(cases), "cases")


if __name__ == "__main__":
    main(sys.argv[1])
