"""Texts that can be translated: SOURCE_ROOT PROGRAM

po/POTFILES names the sources that mark some, each is in one piece that xgettext can read, and PROGRAM,
which gets a folder with a translation of all of them to capitals, finds what it shows translated.
"""
# SPDX-License-Identifier: LGPL-2.1-or-later
import ast
import glob
import os
import re
import struct
import subprocess
import sys
import tempfile

LITERAL = r'"(?:[^"\\\n]|\\.)*"'


def marked(path):
    """The texts in a source, and what is wrong with marks in it."""
    with open(path, encoding="utf-8") as f:
        source = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    texts, problems = [], []
    for mark in re.finditer(r"\b(N?_) \(", source):
        literals = re.match(r"(?:\s*%s)+\s*\)" % LITERAL, source[mark.end():])
        if literals:
            texts.append("".join(map(ast.literal_eval, re.findall(LITERAL, literals[0]))))
        elif mark[1] == "N_" or source[mark.end()] == '"' or not re.match(r"\w+\W", source[mark.end():]):
            problems.append("%s: not one text: %s" % (path, source[mark.start():mark.end() + 60]))
    if "g_dngettext" in source and not texts:
        texts.append("")
    return texts, problems


def shout(text):
    """In capitals, but for what printf replaces."""
    parts = re.split(r"(%[-+ #0-9.]*(?:l|z)?[a-zA-Z%])", text)
    return "".join(part if i % 2 else part.upper() for i, part in enumerate(parts))


def write_mo(path, texts):
    """A catalogue as msgfmt makes it."""
    entries = {"": "Content-Type: text/plain; charset=UTF-8\n", **{t: shout(t) for t in texts}}
    keys = sorted(entries, key=str.encode)
    ids = [key.encode() for key in keys]
    strings = [entries[key].encode() for key in keys]
    at, table, data = 28 + 16 * len(keys), b"", b""
    for text in ids + strings:
        table += struct.pack("<II", len(text), at + len(data))
        data += text + b"\0"
    with open(path, "wb") as f:
        f.write(struct.pack("<7I", 0x950412de, 0, len(keys), 28, 28 + 8 * len(keys), 0, at))
        f.write(table + data)


def main(root, program):
    """The exit status."""
    program = os.path.abspath(program)
    os.chdir(root)
    with open("po/POTFILES", encoding="utf-8") as f:
        listed = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    texts, problems, sources = set(), [], []
    for path in glob.glob("gst/*.c") + glob.glob("core/*.c*") + glob.glob("kernels/*/*.c"):
        found, wrong = marked(path)
        texts |= set(found)
        problems += wrong
        sources += [path] if found else []
    problems += ["po/POTFILES: %s has texts, too" % path for path in set(sources) - set(listed)]
    problems += ["po/POTFILES: %s has no texts" % path for path in set(listed) - set(sources)]
    if listed != sorted(listed):
        problems.append("po/POTFILES: not sorted")
    print("%d texts" % len(texts), *problems, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.makedirs(os.path.join(folder, "xx", "LC_MESSAGES"))
        write_mo(os.path.join(folder, "xx", "LC_MESSAGES", "lightforce.mo"), texts - {""})
        done = subprocess.run([program, folder], timeout=100,
                              env=dict(os.environ, LC_ALL="C.UTF-8", LANGUAGE="xx"))
    return 1 if problems else done.returncode


sys.exit(main(*sys.argv[1:]))
