#!/usr/bin/env python3
"""docs/check.py: what the pages quote is what the files hold, and what they link to is there.

A code block after <!-- quote: PATH --> is the file PATH, word for word. With --write, the blocks are
made from the files.
"""
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
QUOTE = re.compile(r"(<!-- quote: (\S+) -->\n```\w*\n)(.*?)(```\n)", re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def quoted(match):
    return match.group(1) + (TOP / match.group(2)).read_text() + match.group(4)


def targets(page, text):
    for target in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)):
        path = target.split("#")[0]
        if path and "://" not in target and not (page.parent / path).exists():
            yield target


def main():
    pages = sorted(p for p in TOP.rglob("*.md")
                   if not re.search(r"/(build|node_modules|\.git)[^/]*/", str(p)[len(str(TOP)):]))
    wrong = []
    for page in pages:
        text = page.read_text()
        right = QUOTE.sub(quoted, text)
        if right != text and "--write" in sys.argv:
            page.write_text(right)
        elif right != text:
            wrong.append(f"{page.relative_to(TOP)}: a quoted file has changed: docs/check.py --write")
        wrong += [f"{page.relative_to(TOP)}: no such file: {t}" for t in targets(page, text)]
    for line in wrong:
        print(line)
    print(f"{len(pages)} pages, {len(wrong)} wrong")
    return 1 if wrong else 0


sys.exit(main())
