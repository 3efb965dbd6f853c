"""README.md from nbs/index.ipynb

python tools/readme.py              writes README.md
python tools/readme.py --check      fails if README.md is not up to date
python tools/readme.py --command 2  prints the second shell command of README.md (needs no packages)
"""
import argparse, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def hidden(cell):
    "A code cell that the page hides, or of which it shows only a figure"
    return cell['cell_type']=='code' and re.search(r'^#\|\s*(hide|echo:\s*false)\s*$', cell['source'], re.M)


def shown(cell):
    "A code cell without directives and without outputs that are not text"
    if cell['cell_type']!='code': return cell
    cell['source'] = re.sub(r'^#\|.*\n?', '', cell['source'], flags=re.M).strip('\n')
    cell['outputs'] = [o for o in cell['outputs'] if o['output_type']!='error' and 'image/png' not in o.get('data', {})]
    return cell


def make(notebook):
    "The Markdown text of `notebook`"
    import nbformat
    from nbconvert import MarkdownExporter
    nb = nbformat.read(notebook, as_version=4)
    nb.metadata['language_info'] = {'name': 'python'}
    nb.cells = [shown(c) for c in nb.cells if not hidden(c)]
    text,_ = MarkdownExporter().from_notebook_node(nb)
    text = re.sub(r'\n{3,}', '\n\n', '\n'.join(line.rstrip() for line in text.splitlines())).strip()
    return f'<!-- Made from nbs/index.ipynb by tools/readme.py: edit the notebook. -->\n\n{text}\n'


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
    text = make(args.root/'nbs'/'index.ipynb')
    if not args.check: readme.write_text(text, encoding='utf-8'); return 0
    if readme.exists() and readme.read_text(encoding='utf-8')==text: print('readme: up to date'); return 0
    print('README.md is not what nbs/index.ipynb says; run `python tools/readme.py` and commit both.')
    return 1


if __name__=='__main__': sys.exit(main())
