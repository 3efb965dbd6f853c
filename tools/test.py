"""All tests: notebooks, then tests/

python tools/test.py             everything; the last line counts notebooks and tests
python tools/test.py nbs/core    only the notebooks of some folders
"""
import os, re, subprocess, sys, tempfile
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent


def notebooks(place):
    "The notebooks that `nbdev-test` runs below `place`"
    if not place.exists(): sys.exit(f"There is no notebook and no folder {place}. Paths are from {ROOT}, such as nbs/core.")
    paths = [place] if place.suffix=='.ipynb' else sorted(place.rglob('*.ipynb'))
    return [p for p in paths if not (p.parent/'.notest').exists() and not any(o[0] in '_.' for o in p.relative_to(ROOT).parts)]


def echo(command):
    "Run a command, showing what it prints; returns its exit code and its output"
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          encoding='utf-8', errors='replace') as process:
        for line in process.stdout:
            print(line, end='', flush=True)
            lines.append(line)
    return process.returncode, ''.join(lines)


def test_notebooks(place):
    "(passed, failed) of the notebooks below `place`"
    n = len(notebooks(place))
    if not n: return 0, 0
    code,output = echo([str(Path(sys.executable).with_name('nbdev-test')), str(place), '--n-workers', '2', '--timing'])
    if code==0: return n, 0
    listed = re.search(r'Failed On The Following Notebooks:\n=+\n((?:\t.*\n?)+)', output)
    failed = len(listed[1].split()) if listed else n
    return n-failed, failed


# Those that take longest: the last file to end should be a short one
first = 'main_job', 'course', 'site', 'resume', 'foreign_text', 'strangers_tables', 'strangers', 'strangers_archives', 'interrupt', 'bad_input'


def test_files(paths):
    "(passed, failed) of files of tests, in two processes: each file stays in one; a skipped test is neither"
    if not paths: return 0, 0
    how = ['-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder', '--continue-on-collection-errors']
    with tempfile.TemporaryDirectory() as tmp:
        code,_ = echo([sys.executable, '-m', 'pytest', '-q', *how, f'--junitxml={tmp}/result.xml', *map(str, paths)])
        if not Path(tmp, 'result.xml').exists(): return 0, 1
        suites = ElementTree.parse(Path(tmp, 'result.xml')).getroot().iter('testsuite')
        n,failed,skipped = (sum(o) for o in zip(*((int(s.get('tests')), int(s.get('failures'))+int(s.get('errors')), int(s.get('skipped')))
                                                  for s in suites)))
    return n-failed-skipped, max(failed, 0 if code in (0, 5) else 1) # 5: all were skipped


def test_python():
    "(passed, failed) of the tests in tests/, the files that take longest first"
    order = {f'test_{n}': i for i,n in enumerate(first)}
    return test_files(sorted((ROOT/'tests').rglob('test_*.py'), key=lambda p: (order.get(p.stem, len(first)), p.name)))


def main(argv=None):
    os.environ.setdefault('OMP_NUM_THREADS', '1') # two notebooks at a time
    places = [Path(o).resolve() for o in (sys.argv[1:] if argv is None else argv)]
    results = [test_notebooks(o) for o in places or [ROOT/'nbs']] + ([] if places else [test_python()])
    passed,failed = (sum(o) for o in zip(*results))
    print(f'{passed} passed, {failed} failed', flush=True)
    return 1 if failed or not passed else 0


if __name__=='__main__': sys.exit(main())
