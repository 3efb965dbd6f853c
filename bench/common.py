"""What the benchmarks share: turns, middles and spreads, tables, folders of photos, and the two sides, each in a process of its own

A side is a script, `ours_side.py` or `fastai_side.py`, that makes tasks and does them when asked to, a line of JSON at a time. So the
libraries take turns in one run, whatever versions of PyTorch they need. fastai has an environment of its own, which is made when it
is first needed (about 6 GB, some minutes), in `~/.cache/mylib-bench/fastai` or where MYLIB_BENCH says.
"""
import io, json, os, statistics, subprocess, sys, tarfile, tempfile, time, traceback, venv
from pathlib import Path

import numpy as np
from PIL import Image

here = Path(__file__).parent
beside = next((o for o in (here.parent.parent/'shared'/'data', here.parent/'shared'/'data') if o.is_dir()), here.parent/'shared'/'data') # Real photos and weights


def find_data(file):
    "The path of a file or a folder of `beside`; `None` if it is not there"
    return str(beside/file) if (beside/file).exists() else None


def middle(xs, scale=1., digits=0):
    "The median, and the middle half in brackets"
    low,mid,high = (xs*3)[:3] if len(xs)==1 else statistics.quantiles(xs, n=4)
    return f'{statistics.median(xs)*scale:.{digits}f} ({low*scale:.{digits}f}-{high*scale:.{digits}f})'


def ratio(xs, ys): return f'{statistics.median(xs)/statistics.median(ys):.2f}x'


def seconds(f):
    began = time.perf_counter()
    f()
    return time.perf_counter()-began


def warm_allocator():
    "Let C's allocator see a large block freed, after which it keeps blocks of that size: forward passes of a fresh process are a quarter slower on Linux"
    for _ in range(3): np.zeros(2**25-2**16, dtype=np.uint8).fill(1)


def in_turn(tasks, repeats):
    "What each of `tasks` (name to function) returned, `repeats` times, in turn and every other time the other way round"
    res = {k: [] for k in tasks}
    for i in range(repeats):
        for k,f in list(tasks.items())[::1 if i%2 else -1]: res[k].append(f())
    return res


def table(headers, rows):
    "A table that reads well as text and as Markdown"
    rows = [[str(o) for o in row] for row in (headers, *rows)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ['-'*w if i==0 else '-'*(w-1)+':' for i,w in enumerate(widths)])
    for row in rows: print('| '+' | '.join(o.ljust(w) if i==0 else o.rjust(w) for i,(o,w) in enumerate(zip(row, widths)))+' |')
    print(flush=True)


def make_photos(path, n, size=(500, 375), distinct=40):
    "`n` JPEGs in two folders, `distinct` ones and copies of them: large shapes, small shapes and noise, files about as large as those of photos"
    rng,made = np.random.default_rng(0),[]
    for i in range(min(n, distinct)):
        layers = [np.asarray(Image.fromarray(rng.integers(0, 256, (h,w,3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
                  for w,h in ((5,4), (40,30), (size[0]//2,size[1]//2))]
        im,file = 0.6*layers[0] + 0.25*layers[1] + 0.15*layers[2], io.BytesIO()
        Image.fromarray(im.clip(0, 255).astype(np.uint8)).save(file, 'jpeg', quality=90)
        made.append(file.getvalue())
    for i in range(n):
        folder = path/('even' if i%2==0 else 'odd')
        folder.mkdir(parents=True, exist_ok=True)
        (folder/f'{i:04d}.jpg').write_bytes(made[i%len(made)])
    return path


def some_photos(archive, folder, n, size=(224, 224)):
    "`n` photos in a folder a class below `folder`: of the .tgz `archive`, taken evenly, or made where there is none"
    if archive is None or not Path(archive).is_file(): return make_photos(folder, n, size)
    with tarfile.open(archive) as tar:
        names = [o for o in tar.getnames() if '/train/' in o and o.lower().endswith(('.jpg', '.jpeg'))]
        for name in names[::max(1, len(names)//n)][:n]:
            target = folder/Path(name).parent.name/Path(name).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tar.extractfile(name).read())
    return folder


def photo_arguments(parser):
    "`--photos` and `--weights`, with what lies beside the project as default"
    for name,file,what in (('photos', 'imagenette_sample.tgz', 'a .tgz of photos, <anything>/train/<class>/<photo>'), ('weights', 'weights/mobilenetv2_100.safetensors', 'weights of mobilenetv2_100')):
        parser.add_argument(f'--{name}', default=find_data(file), help=f'{what}; without: made ones')


def fastai_python():
    "The Python of fastai's environment, which is made if it is not there"
    folder = Path(os.environ.get('MYLIB_BENCH', Path.home()/'.cache'/'mylib-bench'))/'fastai'
    python = folder/('Scripts/python.exe' if os.name=='nt' else 'bin/python')
    done = folder/'complete'
    if not done.exists():
        print(f'Making an environment for fastai in {folder}; this takes some minutes.', file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, '-m', 'pip', 'install', '-q', 'fastai', 'timm', 'safetensors'], check=True)
        done.touch()
    return python


class Side:
    "A process that does one task of a side's script, when asked"
    def __init__(self, script, task, python=sys.executable, **kwargs):
        self.errors = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen([python, here/script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self._send(task=task, **kwargs)

    def _send(self, **kwargs):
        self.process.stdin.write(json.dumps(kwargs)+'\n')
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        self.errors.seek(0)
        answer = json.loads(line) if line else {'error': self.errors.read()}
        if 'error' in answer: raise RuntimeError(answer['error'])
        return answer['result']

    def __call__(self, do, **kwargs): return self._send(do=do, **kwargs)
    def __enter__(self): return self
    def __exit__(self, *_args):
        self.process.stdin.close()
        self.process.wait()


def fastai_side(task, **kwargs): return Side('fastai_side.py', task, fastai_python(), **kwargs)


def sides(task, fastai=True, **kwargs):
    "Name to side: ours, and fastai if that is wanted"
    res = {'ours': Side('ours_side.py', task, **kwargs)}
    if fastai: res['fastai'] = fastai_side(task, **kwargs)
    return res


def close(sides):
    for o in sides.values(): o.__exit__()


def serve(tasks):
    "Answer what `Side` asks; `tasks` is name to class"
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1) # what is printed goes elsewhere
    task = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if 'task' in asked: task,result = tasks[asked.pop('task')](**asked),None
            else: result = getattr(task, asked.pop('do'))(**asked)
            answer = {'result': result}
        except Exception: answer = {'error': traceback.format_exc()}
        answers.write(json.dumps(answer)+'\n')
        answers.flush()


def fastai_argument(parser): parser.add_argument('--no-fastai', action='store_true', help='leave fastai out, and its environment unmade')


def said(sides):
    "What runs on each side, in one line each"
    for name,side in sides.items(): print(f"{name}: {side('versions')}")
    print(flush=True)
