"""All measurements of the library on a GPU, in one call of under 9 minutes; in small on a CPU

    python bench/gpu.py [PART ...] [--minutes 8.5] [--cifar FOLDER or FILE.tgz] [--small]

It needs no network: photos and tables are made, and so is CIFAR-10 if it is not there. Each part prints a table, and the last line is JSON with all figures. A part
that fails prints its error, and the others go on; what there is no time for is left out, and said. Without a GPU everything is `--small`: the figures
show that all parts run, and say little about speed.

photos     An ordinary `vision_learner` with augmentation, beside the model alone on batches that are on the device: same model, memory format, precision
           and optimizer. `GPU in use` is the share of the wall time in which a kernel ran.
precision  `fine_tune` in 32 bits and in bfloat16
compile    An epoch before and after `learn.compile()`, and the seconds of the first one
rows       An epoch of a table and one of ratings, beside the same in a loop as one writes it by hand, in 32 bits
memory     What a second learner holds, and what is left of it after `del learn` with the garbage collector off
imagenette As many photos of 160 pixels as Imagenette has: the first epoch, and later ones from what was kept
cifar      CIFAR-10 from scratch to 94 %; see `cifar.py`
resume     A fit that is stopped in the middle of an epoch and resumed, beside two that were not stopped
"""
import argparse, contextlib, gc, json, os, statistics, tempfile, time, traceback, warnings
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.profiler import ProfilerActivity, profile

from mylib.callback.checkpoint import Checkpoint
from mylib.callback.run import Watcher
from mylib.core.device import default_device

import cifar
from common import find_data, make_photos, table
from ours_side import FineTune, GivenBack, Rows, quiet
from tables import movielens, people
from tasks import timed

kernel_kinds = dict(cuda='kernel', cpu='cpu_op') # What the profiler calls the work of a device
of_made_data = 'validation files are in the training set', 'ratings repeat a pair', 'Values that the training rows do not have' # warnings that say nothing here
largest = SimpleNamespace(arch='resnet50', fast='resnet18', size=224, bs=64, n=1347, compile=dict(dynamic=False), imagenette='xresnet50', n_imagenette=13394,
                          rows=None, epochs=(10, 14, 20), repeats=3)
smallest = SimpleNamespace(arch='mobilenetv3_small_050', fast='mobilenetv3_small_050', size=64, bs=16, n=101, compile=dict(backend='aot_eager'), imagenette='mobilenetv3_small_050',
                           n_imagenette=202, rows=4000, epochs=(3,), repeats=1)


def merged(spans):
    "Length of what the (begin, end) pairs cover together"
    total,reached = 0.,-float('inf')
    for begin,end in sorted(spans):
        total += max(0., end-max(begin, reached))
        reached = max(reached, end)
    return total


def in_use(f, device):
    "Share of the wall time of `f` in which `device` computed, as text"
    kind = dict(cuda=ProfilerActivity.CUDA, cpu=ProfilerActivity.CPU)[device.type]
    try:
        with profile(activities=[kind]) as prof: wall = timed(f)[0]
        with tempfile.TemporaryDirectory() as folder:
            prof.export_chrome_trace(f'{folder}/trace.json')
            events = json.loads(Path(folder, 'trace.json').read_text(errors='replace'))['traceEvents']
    except Exception as e: return f'not measured: {type(e).__name__}: {e}'[:200]
    spans = [(o['ts'], o['ts']+o['dur']) for o in events if o.get('cat')==kernel_kinds[device.type] and 'dur' in o]
    return f'{merged(spans)/1e6/wall:.0%}'


def median(f, n): return statistics.median(f() for _ in range(n))


def photo_task(o, arch, path, cls=FineTune, **kwargs):
    "A learner for the photos below `path`, as a task"
    return cls(**{**dict(path=path, arch=arch, weights=None, size=o.size, bs=o.bs, workers=min(16, os.cpu_count() or 1), augment=True, device=o.device), **kwargs})


def beside_model(task, o, n):
    "First epoch, later epochs, the model alone, and use of the device"
    res = dict(first=task.epoch()[0])
    task.epoch(), task.alone()
    res.update(later=median(lambda: task.epoch()[0], o.repeats), alone=median(lambda: task.alone()[0], o.repeats))
    res.update(images_a_second=n/res['later'], ceiling=n/res['alone'], of_ceiling=res['alone']/res['later'])
    res.update(in_use=in_use(task.epoch, o.device), in_use_alone=in_use(task.alone, o.device))
    return res


def show_beside(title, res):
    table([title, 'images a second', 'of the ceiling', 'in use'],
          [['ours, later epochs', f"{res['images_a_second']:.0f}", f"{res['of_ceiling']:.0%}", res['in_use']],
           ['the model alone', f"{res['ceiling']:.0f}", '', res['in_use_alone']],
           ['ours, first epoch', f"{res['images_a_second']*res['later']/res['first']:.0f}", f"{res['alone']/res['first']:.0%}", '']])


def photos(o):
    res = beside_model(photo_task(o, o.arch, o.photos), o, o.n)
    show_beside(f'{o.arch} at {o.size}, batches of {o.bs}', res)
    return res


def imagenette(o):
    path = make_photos(o.folder/'imagenette', o.n_imagenette, (213, 160))
    res = beside_model(photo_task(o, o.imagenette, path, size=128 if o.size>128 else o.size, augment=False), o, o.n_imagenette)
    show_beside(f"{o.n_imagenette} photos of 213x160, {o.imagenette}", res)
    return res


def precision(o):
    learn,res = photo_task(o, o.arch, o.photos).learn,{}
    for kind in 'fp32','bf16':
        learn.to_precision(kind)
        with quiet(learn):
            learn.fine_tune(1)
            res[kind] = median(lambda: timed(lambda: learn.fine_tune(1))[0], o.repeats)
        res[f'{kind}_loss'] = learn.history[-1]['valid_loss']
    table([f'fine_tune(1), {o.arch} at {o.size}', 'seconds', 'of 32 bits', 'loss'],
          [[k, f'{res[k]:.2f}', f"{res[k]/res['fp32']:.2f}", f"{res[f'{k}_loss']:.3f}"] for k in ('fp32', 'bf16')])
    return res


def compiled(o):
    task = photo_task(o, o.fast, o.photos)
    task.epoch()
    res = dict(before=median(lambda: task.epoch()[0], o.repeats))
    task.learn.compile(**o.compile)
    res.update(first=task.epoch()[0], second=task.epoch()[0])
    res['after'] = median(lambda: task.epoch()[0], o.repeats)
    table([f"{o.fast} at {o.size}, compile({', '.join(f'{k}={v!r}' for k,v in o.compile.items())})", 'seconds of an epoch', 'of uncompiled'], [[k, f'{v:.2f}', f"{v/res['before']:.2f}"] for k,v in res.items()])
    return res


def rows(o):
    res = {}
    for kind,csv in dict(ratings=movielens(None, o.folder), adult=people(None, o.folder)).items():
        if o.rows: Path(csv).write_text('\n'.join(Path(csv).read_text().splitlines()[:o.rows+1]))
        task = Rows(csv=csv, kind=kind, device=str(o.device))
        for f in task.epoch,task.bare: f()
        found = dict(default=median(task.epoch, o.repeats))
        task.learn.to_fp32()
        found.update(fp32=median(task.epoch, o.repeats), bare=median(task.bare, o.repeats), use=in_use(task.epoch, o.device))
        res[kind] = found
    table(['an epoch at batch 64', 'by hand, s', 'ours in 32 bits', 'of by hand', 'as it is by default', 'of by hand', 'in use'],
          [[k, f"{v['bare']:.2f}", f"{v['fp32']:.2f}", f"{v['fp32']/v['bare']:.2f}", f"{v['default']:.2f}", f"{v['default']/v['bare']:.2f}", v['use']]
           for k,v in res.items()])
    return res


def memory(o):
    "The first learner makes what PyTorch keeps for good, such as the workspaces of its libraries"
    def one():
        before = on_device()
        task = photo_task(o, o.fast, o.photos, GivenBack)
        task.epoch()
        used,left = on_device(),task.left()
        gc.enable()
        return dict(before=before, used=used, after=on_device(), alive=left['alive'], objects=left['objects'])
    def on_device(): return torch.cuda.memory_allocated() if o.device.type=='cuda' else 0
    one()
    res = one()
    gc.collect()
    res['collected'] = on_device()
    table(['device memory, bytes', 'before', 'with the learner', 'after `del learn`', 'and the collector', 'objects alive'],
          [[o.fast, *(f'{res[k]:,}' for k in ('before', 'used', 'after', 'collected')), f"{res['alive']} of {res['objects']}"]])
    return res


def cifar10(o):
    torch.backends.cudnn.benchmark = True
    try: found = cifar.measure(o.cifar, o.epochs, o.small, o.device)
    finally: torch.backends.cudnn.benchmark = False
    print('CIFAR-10 is real' if o.cifar else 'CIFAR-10 is not there; the images are made, and the accuracy says nothing')
    cifar.show(found)
    return dict(real=bool(o.cifar), fits=found)


class Stopped(Exception): "A fit that was stopped"


class StopAt(Watcher):
    "Stop a fit after a number of steps, as if it were killed"
    def __init__(self, step): self.step = step
    def after_batch(self, run):
        if run.training and run.step==self.step: raise Stopped


def resume(o):
    def fit(seed, **kwargs):
        torch.manual_seed(seed)
        learn = photo_task(o, o.fast, o.photos).learn
        with contextlib.suppress(Stopped), quiet(learn): learn.fit_one_cycle(2, 1e-3, **kwargs)
        return learn
    def weights(learn): return torch.cat([p.detach().flatten().double().cpu() for p in learn.model.state_dict().values()])
    torch.backends.cudnn.deterministic = True
    try:
        whole,again = weights(first := fit(1)),weights(fit(1))
        n,file = len(first.dls.train),o.folder/'checkpoint'
        stopped = weights(fit(1, cbs=StopAt(n+n//2), checkpoint=Checkpoint(file, every_steps=2)))
        resumed = weights(fit(2, checkpoint=Checkpoint(file, resume=True)))
    finally: torch.backends.cudnn.deterministic = False
    def distance(x): return ((x-whole).norm()/whole.norm()).item()
    res = dict(steps=2*n, stopped_at=n+n//2, again=distance(again), resumed=distance(resumed), stopped=distance(stopped))
    res['exact'] = res['resumed']<=max(1e-6, 3*res['again'])
    table([f"{res['steps']} steps, stopped after {res['stopped_at']}", 'relative distance of the weights'],
          [[name, f'{res[k]:.1e}'] for k,name in dict(again='the same fit again', resumed='stopped and resumed', stopped='only stopped').items()])
    return res


parts = dict(photos=photos, precision=precision, compile=compiled, rows=rows, memory=memory, imagenette=imagenette, cifar=cifar10, resume=resume)
needs = dict(photos=60, precision=60, compile=90, rows=60, memory=40, imagenette=100, cifar=100, resume=40) # seconds without which it is not begun


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('parts', nargs='*', metavar='PART', help=f"some of {', '.join(parts)}; none: all")
    p.add_argument('--minutes', type=float, default=8.5, help='nothing is begun that may end after them')
    p.add_argument('--cifar', default=find_data('cifar10.tgz'), help='a folder or a .tgz with {train,test}/<class>/<image>; without: made images')
    p.add_argument('--small', action='store_true', help='a tenth of the work, as without a GPU')
    args = p.parse_args()
    if wrong := set(args.parts)-set(parts): p.error(f"there is no part {', '.join(sorted(wrong))}")
    for o in of_made_data: warnings.filterwarnings('ignore', f'(?s).*{o}')
    began,device = time.monotonic(),default_device()
    small = args.small or device.type!='cuda'
    name = torch.cuda.get_device_name(device) if device.type=='cuda' else f'{torch.get_num_threads()} threads of a CPU'
    print(f"{name}, {os.cpu_count()} cores, torch {torch.__version__}{', in small' if small else ''}\n", flush=True)
    res = {}
    with tempfile.TemporaryDirectory() as folder:
        o = SimpleNamespace(**vars(smallest if small else largest), device=device, small=small, cifar=args.cifar, folder=Path(folder))
        o.photos = make_photos(o.folder/'photos', o.n)
        for part in args.parts or parts:
            left,since = args.minutes*60-(time.monotonic()-began),time.monotonic()
            if left<needs[part]*(0.2 if small else 1):
                print(f'{part} is left out: {left:.0f} seconds are left\n', flush=True)
                continue
            try: res[part] = parts[part](o)
            except Exception:
                res[part] = dict(error=traceback.format_exc().strip().splitlines()[-1])
                print(f'{part} fails:\n{traceback.format_exc()}', flush=True)
            res[part]['part_seconds'] = round(time.monotonic()-since, 1)
            gc.collect()
            if device.type=='cuda': torch.cuda.empty_cache()
    seconds = round(time.monotonic()-began, 1)
    print(f'{seconds} seconds in all')
    print(json.dumps(dict(device=name, torch=torch.__version__, small=small, seconds=seconds, parts=res)))


if __name__=='__main__': main()
