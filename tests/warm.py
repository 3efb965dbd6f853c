"""Programs that run in a process of their own, which begins with the library imported

The process is a fork of one that imported the library once, so it starts in no time; where a fork after such imports is not safe, it is a new one.
It differs from `python -c` in one thing that a test may care about: the seed of the hashes of text is that of the process it came from.
"""
import io, multiprocessing, os, subprocess, sys, tempfile, threading, traceback

command = 'import sys; from mylib.deploy.cli import main; sys.exit(main())'
imported = ['mylib.vision.all', 'mylib.tabular.all', 'mylib.deploy.apps', 'mylib.deploy.cli', 'timm', 'sklearn.metrics']
forks = sys.platform=='linux'
if forks:
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(imported)


class Job:
    "A fork, with what the tests use of `subprocess.Popen`"
    def __init__(self, code, words, cwd, env):
        inn,out = context.Pipe(duplex=False)
        self._err = tempfile.NamedTemporaryFile()
        self._process = context.Process(target=_run, args=(code, words, cwd, env, out, self._err.name), daemon=True)
        self._process.start()
        out.close()
        self.stdout = open(os.dup(inn.fileno()), encoding='utf-8', newline='')
        inn.close()

    @property
    def returncode(self): return self._process.exitcode
    def poll(self): return self._process.exitcode
    def kill(self): self._process.kill()

    def send_signal(self, sig):
        if self.poll() is None: os.kill(self._process.pid, sig)

    def communicate(self, timeout=None):
        "What is left of its output, and its errors; it is killed when it takes longer than `timeout` seconds"
        end = threading.Timer(timeout or threading.TIMEOUT_MAX, self.kill)
        end.start()
        said = self.stdout.read()
        self._process.join()
        end.cancel()
        self.stdout.close()
        with self._err: return said, self._err.read().decode()


def _run(code, words, cwd, env, out, err):
    "What the fork does"
    sys.stdout.flush()
    os.dup2(out.fileno(), 1)
    with open(err, 'wb') as f: os.dup2(f.fileno(), 2)
    sys.stdout,sys.stderr = (io.TextIOWrapper(os.fdopen(n, 'wb'), encoding='utf-8', errors=e, line_buffering=True) for n,e in ((1, 'strict'), (2, 'backslashreplace')))
    out.close()
    if cwd: os.chdir(cwd)
    os.environ.update(env)
    sys.argv = ['-c', *words]
    try: exec(compile(code, '<string>', 'exec'), {'__name__': '__main__'})
    except SystemExit: raise
    except BaseException: # as a program ends that nobody catches it in
        traceback.print_exc()
        sys.exit(1)
    finally: sys.stdout.flush()


def start(code, *words, cwd=None, **env):
    "Start `python -c code words...`, with more in its environment"
    words,env = [str(o) for o in words],{k: str(v) for k,v in env.items()}
    if forks: return Job(code, words, cwd and str(cwd), env)
    return subprocess.Popen([sys.executable, '-c', code, *words], cwd=cwd, env={**os.environ, 'PYTHONUNBUFFERED': '1', **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, encoding='utf-8')


def run(code, *words, **kwargs):
    "The same, to its end: a `CompletedProcess`"
    job = start(code, *words, **kwargs)
    out,err = job.communicate(timeout=600)
    return subprocess.CompletedProcess(words, job.returncode, out, err)
