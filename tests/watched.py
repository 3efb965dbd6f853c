"""Do dangerous things in processes that are watched: work, memory, what they write, run, import and connect to

`python watched.py` imports the library, does a harmless job of each kind, and then one job for each line of JSON that it reads: a name, and arguments for
each time that it is done. They get a process of their own (a fork, so it begins warm), and a line of JSON comes back. Work is counted in calls of
functions, which do not depend on how fast or busy the machine is.
"""
import cProfile, contextlib, io, json, os, pathlib, resource, select, signal, subprocess, sys, time

import pytest

needs_linux = pytest.mark.skipif(sys.platform!='linux', reason='measures processes as Linux shows them')
limit_s = 300 # a job that takes longer hangs


class Watched:
    "The process that does the jobs"
    def __init__(self, home):
        env = {**os.environ, 'OMP_NUM_THREADS': '1', 'MYLIB_HOME': str(home), 'HOME': str(home), 'PYTHONDONTWRITEBYTECODE': '1'}
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True, cwd=home)

    def __call__(self, job, *args): return self.many(job, [args])[0]

    def many(self, job, many):
        "The same job with each of these arguments, in turn in one process"
        self.process.stdin.write(json.dumps([job, many])+'\n')
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, 'the watched process died'
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(600)==0


def warmed(home, bundles):
    "A process that has loaded good bundles, so that what is lazy is there; at its end, `home` has no file more"
    box = Watched(home)
    for raw in bundles:
        (home/'warm.mylib').write_bytes(raw)
        box('warm', 'load', str(home/'warm.mylib'))
    before = sorted(home.rglob('*'))
    yield box
    box.close()
    assert sorted(home.rglob('*'))==before


def batched(xs, n): return [xs[i:i+n] for i in range(0, len(xs), n)]


def opens_for_writing(args):
    path,mode,flags = args
    return (isinstance(mode, str) and any(o in mode for o in 'wax+')) or bool((flags or 0)&(os.O_WRONLY|os.O_RDWR|os.O_CREAT|os.O_TRUNC|os.O_APPEND))


dangerous = ('subprocess.', 'os.system', 'os.exec', 'os.fork', 'os.posix_spawn', 'os.spawn', 'os.remove', 'os.rename', 'os.link', 'os.symlink', 'os.truncate',
             'os.chmod', 'os.mkdir', 'os.rmdir', 'os.putenv', 'socket.', 'urllib.', 'ftplib.', 'exec', 'import', 'pickle.', 'marshal.', 'ctypes.', 'shutil.', 'code.', 'webbrowser.')


def watch(events):
    "Note in `events` what the process does from now on, without end"
    def _hook(event, args):
        if event=='open' and opens_for_writing(args): events.append(f'open {args[0]} {args[1]}')
        elif event.startswith(dangerous): events.append(f'{event} {str(args)[:100]}')
    sys.addaudithook(_hook)


def memory(name):
    "Megabytes from /proc/self/status"
    with open('/proc/self/status') as f: return next(int(o.split()[1])/1024 for o in f if o.startswith(name))


@contextlib.contextmanager
def counted():
    "A list with the number of functions, of Python and of C, that were called meanwhile in this thread"
    calls,profile = [],cProfile.Profile()
    profile.enable()
    try: yield calls
    finally:
        profile.disable()
        calls.append(sum(o.callcount for o in profile.getstats()))


def measured(f, args, events, before):
    "What came of `f(*args)`, and what it took: megabytes beyond those at the begin of the process"
    with open('/proc/self/clear_refs', 'w') as o: o.write('5') # the peak begins here
    events.clear()
    with counted() as calls:
        try: res = dict(result=f(*args), error=None, message='')
        except BaseException as e: res = dict(result=None, error=type(e).__name__, message=str(e))
    done = list(events)
    return {**res, 'calls': calls[0], 'mb': memory('VmHWM')-before, 'events': done}


def measured_in_turn(f, many):
    "What came of `f` with each of `many` arguments, a line of JSON each"
    soft = int(memory('VmSize'))*2**20 + 8*2**30
    resource.setrlimit(resource.RLIMIT_AS, (soft, soft)) # rather an error than a machine without memory
    before,events = memory('VmRSS'),[]
    watch(events)
    for args in many: yield json.dumps(measured(f, args, events, before))


def in_fork(f, many):
    "`measured_in_turn` in a fork of this process"
    out,inn = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with os.fdopen(inn, 'w', buffering=1) as o:
                for line in measured_in_turn(f, many): print(line, file=o)
        finally: os._exit(0)
    os.close(inn)
    text,end = b'',time.monotonic()+limit_s
    while select.select([out], [], [], max(0, end-time.monotonic()))[0] and (more := os.read(out, 1<<16)): text += more
    os.kill(pid, signal.SIGKILL)
    os.close(out)
    os.waitpid(pid, 0)
    done = [json.loads(o) for o in text.splitlines() if o.endswith(b'}')]
    died = dict(result=None, error='Died', message=f'this one or one before it was killed, at the latest after {limit_s} s', calls=0, mb=0, events=[])
    return done+[died]*(len(many)-len(done))


def jobs():
    "The jobs by name"
    import numpy as np
    import torch
    from PIL import Image
    from mylib.callback.checkpoint import Checkpoint
    from mylib.core.archive import unpack
    from mylib.core.core import UsageError
    from mylib.core.state import read_state
    from mylib.core.testing import synth_line
    from mylib.data.loaders import DataLoaders
    from mylib.deploy.apps import Images
    from mylib.deploy.load import load_learner
    from mylib.learner.learner import Learner
    from mylib.vision.block import ImageBlock
    from mylib.vision.decode import image_size
    from mylib.vision.files import verify_image
    from mylib.vision.image import PILImage, PILImageBW
    def line_loaders():
        x,y = synth_line(8)
        return DataLoaders([(x, y)], [(x, y)])
    picture = np.arange(16*16*3, dtype=np.uint8).reshape(16, 16, 3)

    def load(file):
        assert isinstance(load_learner(file), Learner)
        return 'loaded'

    def predict(file): return str(load_learner(file).predict(picture)[0])

    def cut(file, step):
        "Load `file` cut at each `step`-th byte; the errors by kind"
        with open(file, 'rb') as f: whole = f.read()
        os.chdir(os.path.dirname(file))
        kinds = {}
        for n in range(0, len(whole), step):
            with open('cut.mylib', 'wb') as f: f.write(whole[:n])
            try: load_learner('cut.mylib'); kind = 'loaded'
            except Exception as e: kind = type(e).__name__
            kinds[kind] = kinds.get(kind, 0)+1
        return kinds

    def misbehave(folder):
        "All that no job may do"
        import pickle, socket
        with open(f'{folder}/out', 'w') as f: f.write('x'*100)
        sys.path.insert(0, folder)
        with open(f'{folder}/evil_module.py', 'w') as f: f.write('x = 1')
        __import__('evil_module')
        exec('x = 1')
        socket.socket().close()
        os.system('true')
        subprocess.run(['true'])
        pickle.loads(pickle.dumps(OSError))
        for _ in range(6_000_000): os.getpid()
        return len(bytearray(300*2**20))

    def look(file):
        "Open an image in every way that the library has; what comes of each: a size, a truth, or the kind of error"
        ways = dict(verify=lambda: verify_image(file), size=lambda: image_size(file), path=lambda: PILImage.create(file).size, gray=lambda: PILImageBW.create(file, 8).size,
                    bytes=lambda: PILImage.create(read(file)).size, file=lambda: PILImage.create(io.BytesIO(read(file))).size,
                    block=lambda: ImageBlock().type_tfms[0](file).size, request=lambda: len(list(Images().requests(pathlib.Path(file), None))))
        def tried(f):
            try: return f()
            except UsageError: return 'UsageError'
        return {k: tried(f) for k,f in ways.items()}

    def read(file):
        with open(file, 'rb') as f: return f.read()

    def pillow(file):
        "What Pillow does when it is not told which formats to try"
        with Image.open(file) as im: im.load()

    def state(file):
        read_state(file)
        return 'read'

    def into_learner(file):
        "Load the file as saved weights, then go on from it as from a checkpoint"
        file,told = pathlib.Path(file),[]
        os.chdir(file.parent.parent)
        learn = Learner(line_loaders(), torch.nn.Linear(1, 1), loss_func=torch.nn.MSELoss(), metrics=[])
        learn.bar = False
        for do in lambda: learn.load(file.stem),lambda: learn.fit(1, checkpoint=Checkpoint(file.parent, resume=True)):
            try: do()
            except UsageError as e: told.append(str(e))
        return told

    def unpacked(file, dest, kwargs): return str(unpack(file, dest, **kwargs))
    return dict(load=load, predict=predict, cut=cut, unpack=unpacked, misbehave=misbehave, look=look, pillow=pillow, state=state, learner=into_learner)


if __name__=='__main__':
    known = jobs()
    for line in sys.stdin:
        job,many = json.loads(line)
        if job!='warm': res = in_fork(known[job], many)
        else:
            name,*args = many[0]
            try: res = [known[name](*args)]
            except ValueError as e: res = [str(e)]
        print(json.dumps(res), flush=True)
