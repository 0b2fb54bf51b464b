"""`make reference`: writes the pages anew."""

from tests.reference import ROOT, pages

if __name__ == "__main__":
    for name, text in pages().items():
        (ROOT / name).write_text(text)
