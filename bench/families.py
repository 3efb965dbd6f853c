"""Every family of timm through the public interface: `python bench/families.py [FAMILY ...]`

Makes a small member of each family that the installed timm lists, trains it for one step on made-up images, exports it, loads the file, and compares
a prediction. Prints a table: the model, the size of the images, and what cannot be done and why. It takes about half an hour on one core.
"""
import io, subprocess, sys, tempfile, time, warnings
from contextlib import redirect_stdout
from pathlib import Path

import torch

from mylib.core.core import UsageError
from mylib.core.testing import synth_images
from mylib.deploy.load import load_learner
from mylib.vision.data import ImageDataLoaders
from mylib.vision.learner import vision_learner
from mylib.vision.transform import Resize

SIZES = 64, 96, 128, 192, 224, 256
MOST = 40e6 # parameters
SMALL = 'test_', 'atto', 'femto', 'pico', 'nano', 'xxs', 'xs', 'xxtiny', 'xtiny', 'tiny', '_t', 'b0', '_s', 'small', '18', '002', '050', '010', '10', '26', '34', '50'


def n_params(name):
    "Number of parameters of a model of timm"
    import timm
    with torch.device('meta'): return sum(p.numel() for p in timm.create_model(name, pretrained=False).parameters())


def smallest(family):
    "A small model of a family, and its number of parameters"
    import timm
    names = timm.list_models(module=family)
    rank = {n: next((i for i,o in enumerate(SMALL) if o in n), len(SMALL)) for n in names}
    found = []
    for n in sorted(names, key=lambda n: (rank[n], len(n)))[:6]:
        try: found.append((n_params(n), n))
        except Exception as e: found.append((float('inf'), n)); print(f'{n}: {type(e).__name__} {e}', file=sys.stderr)
    return min(found)[::-1]


def make(path, name):
    "A learner, and the size of its images: the smallest that the model takes"
    why = None
    for size in SIZES:
        dls = ImageDataLoaders.from_folder(path, valid_pct=0.5, seed=0, bs=4, item_tfms=Resize(size), device='cpu', num_workers=0)
        for args in None, dict(img_size=size):
            try: return vision_learner(dls, name, pretrained=False, lin_ftrs=[], arch_args=args), f'{size}{"" if args is None else " (img_size)"}'
            except UsageError as e: why = why or e
    raise why


def check(path, name):
    "The size that a model was made for, after all steps"
    step = 'make'
    try:
        learn,size = make(path, name)
        step = 'train'
        learn.unfreeze()
        with learn.no_logging(), learn.no_bar(): learn.fit(1, 1e-4)
        step = 'export'
        loaded = load_learner(learn.export(path/'export.pkl'))
        step = 'compare'
        item = next(path.rglob('*.png'))
        a,b = (o.predict(item)[2] for o in (learn, loaded))
        if (a-b).abs().max()>1e-4: raise UsageError(f'predictions differ by {(a-b).abs().max():.2g}')
        return size,'works'
    except Exception as e: return '',f"{step}: {type(e).__name__}: {' '.join(str(e).split())[:300]}"


def row(family):
    "The line of the table for a family"
    start = time.time()
    name,n = smallest(family)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = synth_images(Path(folder)/'shapes', n_per_class=4)
        size,result = check(path, name) if n<=MOST else ('', 'skipped: too large for this run')
    return f'| {family} | {name} | {n/1e6:.1f} | {size} | {result} | {time.time()-start:.0f} |'


def main(families):
    "A process for each family, so that one which crashes costs one line"
    import timm
    print('| family | model | million parameters | pixels | result | seconds |\n| --- | --- | --- | --- | --- | --- |', flush=True)
    for family in families or timm.list_modules():
        done = subprocess.run([sys.executable, __file__, '--one', family], capture_output=True, text=True)
        lines = [o for o in done.stdout.splitlines() if o.startswith('| ')]
        why = (done.stderr.strip().splitlines() or [''])[-1][:200]
        print(lines[-1] if lines else f'| {family} | | | | crashed with {done.returncode}: {why} | |', flush=True)


if __name__=='__main__':
    warnings.simplefilter('ignore')
    if sys.argv[1:2]==['--one']: print(row(sys.argv[2]))
    else: main(sys.argv[1:])
