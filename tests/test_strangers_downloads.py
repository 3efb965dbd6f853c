"""Servers that lie, stall and break off: a download ends soon with the right file, or with words and nothing under the final name"""
import contextlib, hashlib, os, re, socket, threading, time

import pytest

import mylib.core.download as download
from mylib.core.download import download_url

content = bytes(range(256))*400
n = len(content)
sha = hashlib.sha256(content).hexdigest()
good = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: "1"\r\n\r\n' % n


class Server:
    "Answers each connection by `answer(connection, headers asked with, how many came before)`"
    def __init__(self, answer):
        self.answer,self.asked = answer,[]
        self.listening = socket.create_server(('127.0.0.1', 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True: threading.Thread(target=self.one, args=(self.listening.accept()[0],), daemon=True).start()

    def one(self, conn):
        with conn, contextlib.suppress(OSError):
            asked = b''
            while b'\r\n\r\n' not in asked:
                if not (more := conn.recv(65536)): return
                asked += more
            self.asked.append(asked.decode())
            self.answer(conn, asked.decode(), len(self.asked)-1)

    def close(self): self.listening.close()


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    "Download from a server that answers so, without the pauses between attempts"
    monkeypatch.setattr(download.time, 'sleep', lambda _s: None)
    servers = []
    def _fetch(answer, name='set.bin', **kwargs):
        servers.append(server := Server(answer if callable(answer) else lambda conn, _asked, _i: conn.sendall(answer)))
        began = time.monotonic()
        try: return download_url(f'http://127.0.0.1:{server.port}/{name}', tmp_path/name, **{**dict(show_progress=False, retries=1, timeout=0.3), **kwargs}),server
        finally:
            assert time.monotonic()-began<120, 'the download hung'
            assert len(server.asked)<=40, f'{len(server.asked)} requests'
    yield _fetch
    for o in servers: o.close()


def drip(begin, each=b'x', pause=0.02):
    def _answer(conn, _asked, _i):
        conn.sendall(begin)
        while True:
            conn.sendall(each)
            real_sleep(pause)
    return _answer

real_sleep = time.sleep
head = b'HTTP/1.1 200 OK\r\n'
def moved(to): return b'HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n' % to.encode()
def endless(begin, block=bytes(65536)): return drip(begin, block, 0)
def silent(begin): return lambda conn, _asked, _i: (conn.sendall(begin), real_sleep(2))


refused = {
    'too short': (good+content[:1000], '1000 of 102400 bytes came'),
    'nothing of it': (good, '0 of 102400 bytes came'),
    'a length below zero': (head+b'Content-Length: -5\r\n\r\n'+content, "says that the file has '-5' bytes"),
    'a length of text': (head+b'Content-Length: many\r\n\r\n'+content, "says that the file has 'many' bytes"),
    'a length of exabytes': (head+b'Content-Length: 9999999999999999999\r\n\r\n'+content, '`max_bytes` allows'),
    'a length of 5,000 digits': (head+b'Content-Length: '+b'9'*5000+b'\r\n\r\n', 'Exceeds the limit|`max_bytes` allows'),
    'a length in other digits': (head+'Content-Length: ٣\r\n\r\n'.encode(), 'says that the file has'),
    'a body without end': (endless(head+b'\r\n'), '`max_bytes` allows', dict(max_bytes=10**6)),
    'a chunked body without end': (endless(head+b'Transfer-Encoding: chunked\r\n\r\n', b'ffff\r\n'+bytes(65535)+b'\r\n'), '`max_bytes` allows', dict(max_bytes=10**6)),
    'broken chunks': (head+b'Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n', 'IncompleteRead|invalid literal'),
    'chunks that break off': (head+b'Transfer-Encoding: chunked\r\n\r\nff\r\nabc', 'IncompleteRead'),
    'chunks of a size below zero': (head+b'Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n', 'IncompleteRead|bytes'),
    'silence': (silent(b''), 'timed out'),
    'silence in the headers': (silent(head+b'Content-'), 'timed out'),
    'silence in the body': (silent(good+content[:100]), 'timed out'),
    'a letter now and then in the headers': (drip(head+b'X: '), 'in 0.9 seconds'),
    'a letter now and then in the body': (drip(good), 'in 0.9 seconds'),
    'a letter now and then in a chunk': (drip(head+b'Transfer-Encoding: chunked\r\n\r\n', b'0'), 'in 0.9 seconds|got more than 65536'),
    'headers without end': (endless(head, b'X: y\r\n'*1000), 'more than 100 headers'),
    'a header without end': (endless(head+b'X: ', b'x'*10_000), 'more than 65536 bytes'),
    '"continue" without end': (endless(b'', b'HTTP/1.1 100 Continue\r\n\r\n'*100), 'in 0.9 seconds|seconds'),
    'a status without end': (endless(b'HTTP/1.1 200 ', b'x'*10_000), 'more than 65536 bytes'),
    'no HTTP': (b'SSH-2.0-OpenSSH\r\n', 'SSH-2.0'),
    'letters that steer terminals': (b'HTTP/1.1 404 \x1b]0;owned\x07\x1b[2J\r\nContent-Length: 0\r\n\r\n', '404'),
    'nothing': (b'', 'closed connection|RemoteDisconnected'),
    'a circle': (lambda conn, _asked, _i: conn.sendall(moved('/set.bin')), 'infinite loop'),
    'a longer circle': (lambda conn, _asked, i: conn.sendall(moved(f'/{i}')), 'infinite loop'),
    'on to a file': (moved('file:///etc/passwd'), 'is not allowed'),
    'on to ftp': (moved('ftp://127.0.0.1/x'), 'not as safe'),
    'on to data': (moved('data:text/plain,abc'), 'is not allowed'),
    'on to javascript': (moved('javascript:alert(1)'), 'is not allowed'),
    'on to nowhere': (b'HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n', '302'),
    'packed on the way': (head+b'Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde', "the encoding 'gzip'"),
    'no content': (b'HTTP/1.1 204 No Content\r\n\r\n', 'answers 204'),
    'another success': (b'HTTP/1.1 203 Other\r\nContent-Length: 3\r\n\r\nabc', 'answers 203'),
    'a part that nobody asked for': (b'HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nabcde', 'sent the part'),
    'a part without a range': (b'HTTP/1.1 206 Partial\r\nContent-Length: 5\r\n\r\nabcde', 'sent the part'),
    'a part of who knows what': (b'HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/*\r\nContent-Length: 5\r\n\r\nabcde', 'sent the part'),
    '416 for ever': (b'HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n', 'answers 416'),
    '500 for ever': (b'HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n', 'answers 500'),
    'not allowed': (b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n', 'answers 403'),
    'other bytes': (good+content[::-1], 'has the SHA-256', dict(sha256=sha)),
    'a page instead': (head+b'Content-Length: 4\r\n\r\n<htm', 'has the SHA-256', dict(sha256=sha)),
}


@pytest.mark.parametrize('case', refused)
def test_refused(case, fetch, tmp_path):
    answer,match,*kwargs = refused[case]
    with pytest.raises(ValueError, match=match) as e: fetch(answer, **(kwargs[0] if kwargs else {}))
    message = str(e.value)
    assert len(message)<800 and message.isprintable() and re.search('put the file at|find out before', message)
    left = {o.name: o.stat().st_size for o in tmp_path.iterdir()}
    assert set(left)<={'set.bin.part', 'set.bin.part.version'} and left.get('set.bin.part', 1)>0, left
    path,_ = fetch(good+content) # nothing is locked, and what is left does no harm
    assert path.read_bytes()==content and os.listdir(tmp_path)==['set.bin']


def test_more_than_was_said_is_not_read(fetch): assert fetch(good+content+b'more'*1000)[0].read_bytes()==content
def test_no_length_is_read_to_the_end(fetch): assert fetch(head+b'\r\n'+content)[0].read_bytes()==content
def test_chunks(fetch): assert fetch(head+b'Transfer-Encoding: chunked\r\n\r\n'+b''.join(b'%x\r\n%s\r\n' % (1000, content[i:i+1000]) for i in range(0, 100_000, 1000))+b'0\r\n\r\n')[0].read_bytes()==content[:100_000]
def test_an_archive_may_be_called_gzip(fetch): assert fetch(head+b'Content-Encoding: x-gzip\r\nContent-Length: 3\r\n\r\nabc', name='a.tgz')[0].read_bytes()==b'abc'
def test_a_slow_server_is_fast_enough(fetch): assert fetch(lambda conn, _asked, _i: [(conn.sendall(o), real_sleep(0.02)) for o in [good, *(content[i:i+4096] for i in range(0, n, 4096))]])[0].read_bytes()==content


def test_errors_that_pass(fetch):
    def _answer(conn, _asked, i): conn.sendall([b'HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n', b'HTTP/1.1 429 Soon\r\nContent-Length: 0\r\n\r\n', b'', good+content][i])
    assert fetch(_answer, retries=3, sha256=sha)[0].read_bytes()==content


@pytest.mark.parametrize('second', [
    b'HTTP/1.1 206 P\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\nabc', b'HTTP/1.1 206 P\r\nContent-Range: bytes */10\r\n\r\n', b'HTTP/1.1 206 P\r\nContent-Range: x\r\n\r\n',
    b'HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n', good+content, good+content[:7]])
def test_wrong_answers_to_what_is_missing(fetch, second):
    "After a break the server answers with nonsense; the file is right in the end"
    def _answer(conn, asked, i):
        span = re.search(r'Range: bytes=(\d+)-', asked)
        have = int(span[1]) if span else 0
        if i==0: conn.sendall(good+content[:5000])
        elif i==1: conn.sendall(second)
        else: conn.sendall(b'HTTP/1.1 206 P\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\nETag: "1"\r\n\r\n' % (have, n-1, n, n-have)+content[have:] if span else good+content)
    assert fetch(_answer, retries=3)[0].read_bytes()==content


def test_a_part_that_is_longer_than_the_whole(fetch, tmp_path):
    (tmp_path/'set.bin.part').write_bytes(b'x'*(n+5))
    (tmp_path/'set.bin.part.version').write_text('"1"')
    def _answer(conn, asked, _i): conn.sendall(b'HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n' if 'Range:' in asked else good+content)
    assert fetch(_answer)[0].read_bytes()==content and os.listdir(tmp_path)==['set.bin']


def test_a_version_that_would_break_the_request(fetch):
    def _answer(conn, asked, i):
        assert 'X-Evil' not in asked
        conn.sendall(head+b'ETag: "a\r\n X-Evil: 1"\r\nContent-Length: %d\r\n\r\n' % n+(content[:500] if i==0 else content))
    path,server = fetch(_answer)
    assert path.read_bytes()==content and 'Range' not in server.asked[1]


def test_two_at_once(fetch, tmp_path):
    "The second waits for the first, whatever becomes of it"
    results = []
    def _answer(conn, _asked, i):
        real_sleep(0.2)
        conn.sendall(b'HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n' if i==0 else good+content)
    server = Server(_answer)
    def one():
        try: results.append(download_url(f'http://127.0.0.1:{server.port}/x', tmp_path/'x', show_progress=False, retries=0).read_bytes())
        except ValueError as e: results.append(str(e))
    threads = [threading.Thread(target=one) for _ in range(4)]
    for o in threads: o.start()
    for o in threads: o.join()
    server.close()
    assert sorted(isinstance(o, str) for o in results)==[False]*3+[True] and all(o==content for o in results if isinstance(o, bytes)) and os.listdir(tmp_path)==['x'] and len(server.asked)==2
