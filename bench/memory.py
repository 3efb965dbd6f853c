"""Peak memory of each task of the other benchmarks, and what is given back after `del learn`

    python bench/memory.py [--no-fastai]

Each task runs in a process of its own: `process` is the most that it held itself, `with its workers` the most that it and the processes that it started held
together, what they share counted once (from /proc, so on Linux alone). After `del learn` the garbage collector is off: what lives on is held by something. `malloc_trim` asks C's allocator for what
it keeps of the freed memory (glibc, so on Linux alone).
"""
import argparse, os, tempfile, threading, time
from pathlib import Path

from common import fastai_argument, fastai_side, make_photos, photo_arguments, some_photos, Side, table


def family(pid):
    "`pid` and all processes below it"
    try: children = Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    except FileNotFoundError: return []
    return [pid, *(p for o in children for p in family(int(o)))]


def held(pid):
    "Megabytes of a process, what it shares divided by those who share it; 0 if it has just ended"
    try: lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError): return 0
    return sum(int(o.split()[1]) for o in lines if o.startswith('Pss:'))/1024


class Watch:
    "The most that a process and those below it hold meanwhile"
    def __init__(self, pid): self.pid,self.most,self.over = pid,0,False
    def __enter__(self):
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self
    def __exit__(self, *_args):
        self.over = True
        self.thread.join()
    def _look(self):
        while not self.over:
            self.most = max(self.most, sum(map(held, family(self.pid))))
            time.sleep(0.1)


def measure(make, task, calls, **kwargs):
    "Peak megabytes of the process, and with its workers"
    with make(task, **kwargs) as side, Watch(side.process.pid) as watch:
        for call in calls: side(*call[:1], **call[1])
        return f"{side('peak'):.0f}", f'{watch.most:.0f}'


def tasks(photos, small, large, args):
    "Title to the task, its calls and its arguments"
    model = dict(bs=32, workers=args.workers)
    return {'import alone': ('Task', []),
            'loop: 400 batches': ('Loop', [('fit', {})], dict(widths=[64, 128, 128, 10], bs=64, n=400)),
            'pipeline: 500x375, 2 epochs': ('Pipeline', [('epoch', dict(first=o)) for o in (True, False)], dict(path=small, kind='random', size=224, threads=1, **model)),
            'pipeline: 1600x1200, 2 epochs': ('Pipeline', [('epoch', dict(first=o)) for o in (True, False)], dict(path=large, kind='random', size=224, threads=1, **model)),
            'finetune: mobilenetv2_100 at 128': ('FineTune', [('epoch', {})], dict(path=photos, arch='mobilenetv2_100', weights=args.weights, size=128, augment=True, **model)),
            'augment: 64 of 224': ('Augment', [('once', {})]*3, dict(kind='aug_transforms', bs=64, size=224, threads=2)),
            'predict: resnet18, one': ('Predict', [('one', dict(n=5, opened=False))], dict(path=small, arch='resnet18', size=224, workers=args.workers, threads=2)),
            'get_preds: resnet18, all files': ('Predict', [('many', dict(path=small, bs=64))], dict(path=small, arch='resnet18', size=224, workers=args.workers, threads=2))}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    photo_arguments(p)
    p.add_argument('--n', type=int, default=160, help='pictures in each folder')
    p.add_argument('--workers', type=int, default=min(8, os.cpu_count() or 1), help='threads of ours and processes of fastai')
    fastai_argument(p)
    args = p.parse_args()
    makers = {'ours': lambda task, **kwargs: Side('ours_side.py', task, **kwargs)}
    if not args.no_fastai: makers['fastai'] = fastai_side
    with tempfile.TemporaryDirectory() as folder:
        photos,small,large = (str(o) for o in (some_photos(args.photos, Path(folder)/'photos', args.n), make_photos(Path(folder)/'small', args.n), make_photos(Path(folder)/'large', args.n, (1600, 1200))))
        rows = [[title, *(o for make in makers.values() for o in measure(make, task, calls, **(more[0] if more else {})))] for title,(task,calls,*more) in tasks(photos, small, large, args).items()]
        table(['peak, MB', *(f'{k}: {o}' for k in makers for o in ('process', 'with its workers'))], rows)
        rows = []
        for name,make in makers.items():
            with make('GivenBack', path=photos, arch='mobilenetv2_100', weights=args.weights, size=128, bs=32, workers=args.workers, augment=True) as side:
                side('epoch')
                left = side('left')
            rows.append([name, f"{left['before']:.0f}", f"{left['after']:.0f}", f"{left['trimmed']:.0f}", f"{left['alive']} of {left['objects']}"])
        table(['del learn, collector off', 'MB before', 'MB after', 'and after malloc_trim', 'still alive'], rows)


if __name__=='__main__': main()
