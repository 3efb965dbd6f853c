"""What mypy finds in the package: `python tools/check_types.py`, and `--write` to write down what is known

`tools/known_types.txt` lists what is known, by file and message. A finding that is not in it fails; so does one in it that is found no more, so that
the list only shrinks: run with `--write` and commit the shorter list.
"""
import re, subprocess, sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KNOWN = ROOT/'tools'/'known_types.txt'


def found(text):
    "How often each finding stands in what mypy printed, without the numbers of the lines"
    lines = (re.match(r'(\S+?):\d+: error: (.*)', o) for o in text.splitlines())
    return Counter(f"{m[1].replace(chr(92), '/')}: {m[2]}" for m in lines if m)


def run_mypy():
    done = subprocess.run([sys.executable, '-m', 'mypy', 'mylib'], cwd=ROOT, capture_output=True, text=True, encoding='utf-8')
    if done.returncode not in (0, 1) or done.returncode and not done.stdout: raise SystemExit(f'mypy does not run: {done.stdout}{done.stderr}')
    return found(done.stdout)


def listed(counts): return ''.join(f'{n} {k}\n' for k,n in sorted(counts.items()))


def read(text): return Counter({k: int(n) for n,k in (o.split(' ', 1) for o in text.splitlines() if o)})


def compare(now, known):
    "What is new, and what is known and gone, as lines of text"
    yield from (f'new: {k}' for k in now-known)
    yield from (f'gone: {k}' for k in known-now)


def main(argv=None):
    now = run_mypy()
    if '--write' in (sys.argv[1:] if argv is None else argv):
        KNOWN.write_text(listed(now), encoding='utf-8')
        return 0
    lines = list(compare(now, read(KNOWN.read_text(encoding='utf-8'))))
    print('\n'.join(lines) or f'types: nothing new, {sum(now.values())} known')
    if any(o.startswith('gone') for o in lines): print('The list can be shorter: python tools/check_types.py --write')
    return 1 if lines else 0


if __name__=='__main__': sys.exit(main())
