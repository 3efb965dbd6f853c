"""README.md from nbs/index.ipynb

A figure whose cell has a label (`#| label: fig-NAME`) becomes `nbs/images/NAME.png`, which the README shows; other figures are left out.

python tools/readme.py              writes README.md
python tools/readme.py --check      fails if README.md is not up to date
python tools/readme.py --command 2  prints the second shell command of README.md (needs no packages)
"""
import argparse, base64, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def directive(cell, name):
    "The value of a directive of a code cell, or `None`"
    found = re.search(rf'^#\|\s*{name}:\s*"?(.*?)"?\s*$', cell['source'], re.M) if cell['cell_type']=='code' else None
    return found and found[1]


def picture(cell):
    "The name of the figure of a cell, its bytes and what to read instead of it; `None` without a label or a figure"
    label = directive(cell, 'label')
    found = [o['data']['image/png'] for o in cell.get('outputs', ()) if 'image/png' in o.get('data', {})] if label else []
    return (label.removeprefix('fig-'), base64.b64decode(found[0]), directive(cell, 'fig-alt') or '') if found else None


def hidden(cell):
    "A code cell that the page hides, but for its figure"
    return cell['cell_type']=='code' and re.search(r'^#\|\s*(hide|echo:\s*false)\s*$', cell['source'], re.M)


def shown(cell):
    "What the README shows of a cell: code without directives, outputs that are text, and a link to a figure with a label"
    from nbformat.v4 import new_markdown_cell
    if cell['cell_type']!='code': return [cell]
    found,quiet = picture(cell),hidden(cell)
    link = [new_markdown_cell(f'![{found[2]}](images/{found[0]}.png)')] if found else []
    cell['source'] = re.sub(r'^#\|.*\n?', '', cell['source'], flags=re.M).strip('\n')
    cell['outputs'] = [o for o in cell['outputs'] if o['output_type']!='error' and 'image/png' not in o.get('data', {})]
    return link if quiet else [cell, *link]


def from_top(text):
    "Links that are relative to the notebook, as links from the top of the repository"
    return re.sub(r'\]\((?![a-z]+:|#|/)', '](nbs/', text)


def make(notebook):
    "The Markdown text of `notebook`, and its figures by name"
    import nbformat
    from nbconvert import MarkdownExporter
    nb = nbformat.read(notebook, as_version=4)
    nb.metadata['language_info'] = {'name': 'python'}
    figures = {f'{o[0]}.png': o[1] for o in map(picture, nb.cells) if o}
    nb.cells = [o for c in nb.cells for o in shown(c)]
    text,_ = MarkdownExporter().from_notebook_node(nb)
    text = from_top(re.sub(r'\n{3,}', '\n\n', '\n'.join(line.rstrip() for line in text.splitlines())).strip())
    return f'<!-- Made from nbs/index.ipynb by tools/readme.py: edit the notebook. -->\n\n{text}\n',figures


def commands(readme):
    "The shell commands in the `sh` blocks of a README, one a block"
    return [' '.join(o.split()) for o in re.findall(r'^```sh\n(.*?)^```', readme.read_text(encoding='utf-8'), re.M|re.S)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='fail if README.md is not up to date')
    parser.add_argument('--command', type=int, help='print this shell command of README.md, counted from 1')
    parser.add_argument('--root', type=Path, default=ROOT, help='the repository')
    args = parser.parse_args(argv)
    readme = args.root/'README.md'
    if args.command: print(commands(readme)[args.command-1]); return 0
    text,figures = make(args.root/'nbs'/'index.ipynb')
    wanted = {readme: text.encode(), **{args.root/'nbs'/'images'/n: o for n,o in figures.items()}}
    if not args.check:
        for file,content in wanted.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return 0
    if all(f.exists() and f.read_bytes()==o for f,o in wanted.items()): print('readme: up to date'); return 0
    print('README.md is not what nbs/index.ipynb says; run `python tools/readme.py` and commit both.')
    return 1


if __name__=='__main__': sys.exit(main())
