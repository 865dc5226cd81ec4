"""Man pages and --help tell of the same options and settings: PROGRAM PAGE ..."""
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import re
import subprocess
import sys


def helped(program):
    """Options of --help, and settings of the groups that it explains."""
    text = subprocess.run([program, "--help"], check=True, stdout=subprocess.PIPE, text=True,
                          encoding="utf-8", errors="replace", timeout=60).stdout
    options = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", text, re.M))
    options |= set(re.findall(r"^ +(-\w), --", text, re.M))
    settings = set()
    for group, lines in re.findall(r"^(\[\w+.*?\]).*\n((?:  .+\n)+)", text, re.M):
        settings |= {(group, name) for name in re.findall(r"^  ([a-z-]+)(?:  |$)", lines, re.M)}
    return options, settings


def explained(page):
    """Options and settings of the page's paragraphs with a tag."""
    options, settings = set(), set()
    group, tagged = None, False
    with open(page, encoding="utf-8") as lines:
        for line in lines:
            plain = re.sub(r"\\f.|\"", "", line.rstrip()).replace("\\-", "-")
            if plain.startswith((".SH ", ".SS ")):
                group = plain[4:]
            elif tagged and group == "OPTIONS":
                options |= set(re.findall(r"(?<![\w-])--?\w[\w-]*", plain))
            elif tagged:
                settings.add((group, plain.split()[1]))
            tagged = plain == ".TP"
    return options, settings


def check(program, page):
    """The number of differences."""
    wanted, settings = helped(program)
    found, told = explained(page)
    assert len(wanted - {"-h", "--help"}) > 0, "%s --help has no options" % program
    problems = ["%s: %s is missing" % (page, name) for name in sorted(wanted - found)]
    problems += ["%s: %s is no option" % (page, name) for name in sorted(found - wanted)]
    problems += ["%s: %s %s is missing" % (page, *name) for name in sorted(settings - told)]
    print("%s: %d options, %d settings" % (os.path.basename(page), len(wanted), len(settings)),
          *problems, sep="\n")
    return len(problems)


sys.exit(sum(check(*pair) for pair in zip(sys.argv[1::2], sys.argv[2::2])) > 0)
