"""From notebooks to the package: `python tools/export.py`

Cleans the notebooks (`nbdev-clean`), takes the times out of kept tables of epochs, exports the notebooks (`nbdev-export`), and puts patched methods
into their classes (`tools/fold.py`). This is the one command to run before a commit.
"""
import json, re, subprocess, sys
from pathlib import Path

import fold

ROOT = Path(__file__).resolve().parent.parent
head,time = re.compile(r'^ *epoch  .*  +time$'), re.compile(r'  +(time|\d+:\d\d)$|(?<=epochs) in \d+:\d\d')


def without_times(text):
    "A table of epochs without its last column and the sum below, which differ from run to run; other text as it is"
    lines = text.splitlines()
    if not any(head.match(o) for o in lines): return text
    return '\n'.join(time.sub('', o) for o in lines) + ('\n' if text.endswith('\n') else '')


def clean_output(output):
    "Take the times out of an output of a cell, in place; tells whether there were some"
    holder,key = (output, 'text') if 'text' in output else (output.get('data', {}), 'text/plain')
    old = ''.join(holder.get(key, ''))
    new = without_times(old)
    if new==old: return False
    holder[key] = new.splitlines(keepends=True)
    return True


def clean_times(path):
    "Take the times out of the outputs of a notebook"
    nb = json.loads(path.read_text(encoding='utf-8'))
    changed = [clean_output(o) for c in nb['cells'] for o in c.get('outputs', ())]
    if any(changed): path.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True)+'\n', encoding='utf-8')


def run(name): subprocess.run([str(Path(sys.executable).with_name(name))], cwd=ROOT, check=True)


def main():
    run('nbdev-clean')
    for path in sorted((ROOT/'nbs').rglob('*.ipynb')): clean_times(path)
    run('nbdev-export')
    return fold.main([ROOT/'mylib'])


if __name__=='__main__': sys.exit(main())
