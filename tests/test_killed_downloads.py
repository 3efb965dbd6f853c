"A process that is killed while it downloads, unpacks or writes leaves nothing under a final name, and the next one goes on"
import hashlib, os, signal, subprocess, sys, tarfile, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mylib.core.archive import unpack
from mylib.core.download import download_url
from mylib.core.samples import digits_folder

pytestmark = pytest.mark.skipif(sys.platform=='win32', reason='needs SIGKILL')
content = os.urandom(400_000)


class Slow(BaseHTTPRequestHandler):
    "Sends the first half, then waits before the second; knows ranges"
    asked,pause = [],60

    def do_GET(self):
        span = self.headers.get('Range')
        self.asked.append(span)
        start = int(span[6:-1]) if span else 0
        self.send_response(206 if span else 200)
        if span: self.send_header('Content-Range', f'bytes {start}-{len(content)-1}/{len(content)}')
        self.send_header('Content-Length', str(len(content)-start))
        self.send_header('ETag', '"one"')
        self.end_headers()
        try:
            self.wfile.write(content[start:max(start, len(content)//2)])
            self.wfile.flush()
            if not span: time.sleep(self.pause)
            self.wfile.write(content[max(start, len(content)//2):])
        except OSError: pass

    def log_message(self, *_args): pass


def killed_when(code, is_time, env=None):
    "Run `code` in a process, and kill it as soon as `is_time()`"
    p = subprocess.Popen([sys.executable, '-c', code], env={**os.environ, **(env or {})})
    end = time.time()+600
    while not is_time():
        assert p.poll() is None and time.time()<end
        time.sleep(0.01)
    p.send_signal(signal.SIGKILL)
    p.wait()


def test_download_goes_on(tmp_path):
    server = ThreadingHTTPServer(('127.0.0.1', 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url,dest = f'http://127.0.0.1:{server.server_port}/set.bin',tmp_path/'set.bin'
    part = tmp_path/'set.bin.part'
    code = f"from mylib.core.download import download_url; download_url({url!r}, {str(dest)!r}, 90, show_progress=False)"
    killed_when(code, lambda: part.exists() and part.stat().st_size>=100_000)
    assert not dest.exists()
    have = part.stat().st_size
    download_url(url, dest, show_progress=False, sha256=hashlib.sha256(content).hexdigest())
    assert Slow.asked==[None, f'bytes={have}-']
    assert sorted(o.name for o in tmp_path.iterdir())==['set.bin']
    server.shutdown()


def test_digits_whole_or_not(tmp_path):
    code = """
import time
from PIL import Image
from mylib.core.samples import digits_folder
save = Image.Image.save
def slow(self, *args, **kwargs): time.sleep(0.02); save(self, *args, **kwargs)
Image.Image.save = slow
digits_folder()"""
    data = tmp_path/'data'
    killed_when(code, lambda: len(list(data.rglob('*.png')))>20, dict(MYLIB_HOME=str(tmp_path)))
    assert not (data/'digits').exists()
    assert len(list(digits_folder(data/'digits').rglob('*.png')))==1797


def test_unpack_whole_or_not(tmp_path):
    (tmp_path/'one.txt').write_text('x'*1000)
    with tarfile.open(tmp_path/'set.tgz', 'w:gz') as t:
        for i in range(3000): t.add(tmp_path/'one.txt', f'set/{i}.txt')
    code = f"""
import time
from mylib.core import archive
copy = archive._copy
def slow(*args): time.sleep(0.02); return copy(*args)
archive._copy = slow
archive.unpack({str(tmp_path/'set.tgz')!r}, {str(tmp_path/'set')!r})"""
    killed_when(code, lambda: len(list(tmp_path.rglob('*.txt')))>20)
    assert not (tmp_path/'set').exists()
    assert len(list(Path(unpack(tmp_path/'set.tgz', tmp_path/'set')).rglob('*.txt')))==3000
