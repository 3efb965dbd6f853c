"""Seconds to import `mylib.vision.all` in a fresh process, against what it is made of, and fastai

    python bench/imports.py [--repeats 9] [--no-fastai]

Aimed at: at most 1.15 times the import of torch, torchvision, pandas and matplotlib.pyplot.
"""
import argparse, functools, subprocess, sys

from common import fastai_argument, fastai_python, in_turn, middle, ratio, table

code = "import time; began = time.perf_counter(); {}; print(time.perf_counter()-began)"


def fresh(python, what): return float(subprocess.run([python, '-c', code.format(what)], check=True, capture_output=True, text=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--repeats', type=int, default=9)
    fastai_argument(p)
    args = p.parse_args()
    tasks = {'torch, torchvision, pandas, matplotlib.pyplot': (sys.executable, 'import torch, torchvision, pandas, matplotlib.pyplot'),
             'mylib.vision.all': (sys.executable, 'import mylib.vision.all')}
    if not args.no_fastai: tasks['fastai.vision.all'] = (fastai_python(), 'import fastai.vision.all')
    tasks = {k: functools.partial(fresh, *v) for k,v in tasks.items()}
    for f in tasks.values(): f() # the files are in memory from here on
    res = in_turn(tasks, args.repeats)
    base = next(iter(res.values()))
    print(f"Seconds, median of {args.repeats} (middle half)\n")
    table(['', 'seconds', 'of the first row'], [[k, middle(v, digits=2), ratio(v, base)] for k,v in res.items()])


if __name__=='__main__': main()
