"""Archives from strangers: each is unpacked whole and inside, or refused in words and leaves nothing

`MYLIB_SHOW=1 pytest -s tests/test_strangers_archives.py` prints what each is told, and what it cost.
"""
import bz2, gzip, io, lzma, os, re, stat, struct, tarfile, warnings, zipfile

import pytest

from mylib.core.archive import unpack, untar_data
from watched import Watched, batched, needs_linux

most_calls,most_mb = 2_000_000,200 # 128 MB, or 32,000 empty entries, may be written before a bomb is known for one
MB = 2**20


def member(name, content=b'', **attrs):
    m = tarfile.TarInfo(name)
    m.size = len(content)
    for k,v in attrs.items(): setattr(m, k, v)
    return m,content


def tarred(*members, form=tarfile.PAX_FORMAT, end=True, **kwargs):
    f = io.BytesIO()
    with tarfile.open(fileobj=f, mode='w', format=form, **kwargs) as t:
        for m,content in members: t.addfile(m, io.BytesIO(content) if content else None)
    raw = f.getvalue()
    return raw if end else raw[:t.offset-1024]


def header(name=b'a', size=b'00000000000', kind=b'0', magic=b'ustar\x0000', link=b'', tail=b''):
    "A header made by hand, with its sum"
    raw = name.ljust(100, b'\0')+b'0000644\0'+b'0000000\0'*2+size.ljust(12, b'\0')+b'00000000000\0'+b' '*8+kind+link.ljust(100, b'\0')+magic+tail
    raw = raw.ljust(512, b'\0')[:512]
    return raw[:148]+b'%06o\0 ' % sum(raw)+raw[156:]


def padded(data): return data+bytes(-len(data)%512)


def zipped(*members):
    f = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(f, 'w') as z:
        warnings.simplefilter('ignore')
        for name,content,*attrs in members:
            info = zipfile.ZipInfo(name)
            for k,v in (attrs[0] if attrs else {}).items(): setattr(info, k, v)
            z.writestr(info, content)
    return f.getvalue()


ok = member('ok.txt', b'ok')


def bad_names():
    yield from [('../out', 'leads out'), ('a/../../out', 'leads out'), ('..', 'leads out'), ('a/..', 'leads out'), ('/out', 'absolute'), ('//out', 'absolute'), ('/etc/passwd', 'absolute'), ('C:/out', 'absolute'),
                ('c:out', 'absolute'), ('..\\out', 'separator'), ('a\\b', 'separator'), ('a'*256, 'more than 255 bytes'), ('ä'*128, 'more than 255 bytes'), ('a/'*200+'b', 'nested folders'),
                ('a/'*5000+'b', 'nested folders'), ('a'*100_000, 'more than 255 bytes|longer than a megabyte')]


def tar_cases():
    for name,match in bad_names(): yield f'a file {name[:20]!r} ({len(name)})', tarred(ok, member(name, b'x')), match
    for name,match in bad_names(): yield f'a folder {name[:20]!r} ({len(name)})', tarred(ok, member(name, type=tarfile.DIRTYPE)), match
    yield 'a NUL in a name', tarred(ok, member('a', b'x', pax_headers={'path': 'a\0b'})), 'separator'
    for kind,name in (tarfile.SYMTYPE, 'link'),(tarfile.LNKTYPE, 'link'),(tarfile.CHRTYPE, 'device'),(tarfile.BLKTYPE, 'device'),(tarfile.FIFOTYPE, 'device'),(b'Z', 'device|file'):
        if kind!=b'Z': yield f'a {kind!r}', tarred(ok, member('x', type=kind, linkname='/etc/passwd')), f'is a {name}'
        yield f'a {kind!r} to a member', tarred(ok, member('x', type=kind, linkname='ok.txt'), member('x/y', b'z')), 'is a |also a file'
    yield 'a link, then a file through it', tarred(member('x', type=tarfile.SYMTYPE, linkname='/tmp'), member('x/owned', b'z')), 'is a link'
    yield 'a name twice', tarred(ok, ok), 'occurs twice'
    yield 'a name twice, with a dot', tarred(ok, member('./ok.txt', b'x')), 'occurs twice'
    yield 'a folder over a file', tarred(ok, member('ok.txt', type=tarfile.DIRTYPE)), 'also a file'
    yield 'a file over a folder', tarred(member('ok', type=tarfile.DIRTYPE), member('ok', b'x')), 'occurs twice'
    yield 'a file in a file', tarred(ok, member('ok.txt/x', b'x')), 'also a file'
    many = tarred(*[member(f'{i}') for i in range(2000)])
    yield 'too many', gzip.compress(many), '`max_files` allows no more', dict(max_files=1000)
    yield 'too many folders by their paths', gzip.compress(tarred(ok, *[member(f'{i}/'+'a/'*98+'b') for i in range(10)])), '`max_files` allows no more', dict(max_files=11)
    yield 'too many folders that are members', gzip.compress(tarred(ok, *[member(f'{i}', type=tarfile.DIRTYPE) for i in range(20)])), '`max_files` allows no more', dict(max_files=20)
    yield 'a folder again and again', gzip.compress(tarred(ok, *[member('a', type=tarfile.DIRTYPE)]*20)), '`max_files` allows no more', dict(max_files=20)
    yield 'folders that are too large', gzip.compress(tarred(ok, *[member(f'{i}/'+'a/'*98+'b') for i in range(10)])), '`max_bytes` allows no more', dict(max_bytes=4_000_000)
    yield 'a bomb of folders', lzma.compress(tarred(ok, *[member(f'{i}/'+'a/'*98+'b') for i in range(400)])), '`max_ratio` allows no more'
    yield 'too large', tarred(member('a', bytes(10_000))), '`max_bytes` allows no more', dict(max_bytes=9000)
    zeros = tarred(*[member(f'{i}', bytes(40*MB)) for i in range(4)])
    yield 'a bomb of gzip', gzip.compress(zeros, 6), '`max_ratio` allows no more'
    yield 'a bomb of bzip2', bz2.compress(zeros), '`max_ratio` allows no more'
    yield 'a bomb of xz', lzma.compress(zeros, preset=1), '`max_ratio` allows no more'
    yield 'a bomb of sparse files', tarred(member('a'))[:0]+header(b'a', b'00000000001', b'S', b'ustar  \0', tail=bytes(121)+(b'00000000000\0'*2+b'00000000000\0'*6+b'\0'+b'77777777777\0'))+bytes(512)*3, '`max_ratio` allows no more|damaged'
    yield 'a bomb of pax headers', gzip.compress(header(b'p', b'%011o' % (300*MB), b'x')+bytes(300*MB)), 'longer than a megabyte'
    yield 'a bomb of global pax headers', gzip.compress(b''.join(header(b'p', b'%011o' % len(o), b'g')+padded(o) for i in range(40_000) for o in [b'%d k%06d=v\n' % (len(b'12 k000000=v\n'), i)])), 'longer than a megabyte|makes no sense|damaged'
    yield 'a bomb of long names', gzip.compress(header(b'././@LongLink', b'%011o' % (300*MB), b'L')+b'a'*(300*MB)), 'longer than a megabyte'
    yield '3,000 long names in a row', b''.join(header(b'././@LongLink', b'00000000002', b'L')+padded(b'a\0') for _ in range(3000)), 'longer than a megabyte|damaged'
    pax = b''.join(b'%d a%06d=v\n' % (len(b'13 a000000=v\n'), i) for i in range(20_000))
    yield 'many pax settings', header(b'p', b'%011o' % len(pax), b'g')+padded(pax)+tarred(ok), 'makes no sense'
    yield 'pax with a wrong length', header(b'p', b'%011o' % 20, b'x')+padded(b'99999999999 path=a\n')+tarred(ok), 'damaged|separator'
    yield 'pax with a size below zero', tarred(member('a', b'x', pax_headers={'size': '-5'})), 'damaged|makes no sense'
    yield 'pax with a huge size', tarred(member('a', b'x', pax_headers={'size': '9'*400})), '`max_ratio` allows no more|damaged'
    yield 'pax with a size of text', tarred(member('a', b'x', pax_headers={'size': 'abc'})), 'damaged'
    yield 'a size below zero', header(b'a', b'\xff'*11+b'\x00')+tarred(ok), 'damaged|makes no sense'
    yield 'a size of 8 exabytes', header(b'a', b'\x80'+b'\x7f'*11)+tarred(ok), '`max_ratio` allows no more|damaged'
    yield 'a size beyond the end', header(b'a', b'00000100000')+b'x'*512, 'damaged'
    yield 'a long name below zero', header(b'././@LongLink', b'\xff'*12, b'L')+tarred(ok), 'damaged|occurs twice'
    yield 'a sum that is wrong', tarred(ok)[:150]+b'777'+tarred(ok)[153:], 'damaged'
    yield 'a sum that is wrong, later', tarred(ok, member('b', b'b')).replace(b'b\0', b'c\0', 1), 'it has no end'
    yield 'rubbish in the middle', tarred(ok, end=False)+os.urandom(512)+tarred(ok), 'it has no end'
    yield 'no end', tarred(ok, end=False), 'it has no end|damaged'
    yield 'something after the end', tarred(ok)+b'MZ'*MB, 'something follows its end'
    whole = tarred(*[member(f'{i}', os.urandom(300)) for i in range(5)])
    for kind,packed in ('tar', whole),('gzip', gzip.compress(whole)),('bzip2', bz2.compress(whole)),('xz', lzma.compress(whole)):
        for k in range(1, 10):
            n = (len(packed)*k//10 if kind!='tar' else 5120*k//10)
            yield f'{kind} cut at {k}0%', packed[:n], 'damaged'
        if kind!='tar':
            yield f'{kind} with a wrong byte', packed[:len(packed)//2]+bytes([packed[len(packed)//2]^255])+packed[len(packed)//2+1:], 'damaged'
            yield f'{kind} of rubbish', packed[:10]+os.urandom(500), 'damaged'
            yield f'{kind} of nothing', {'gzip': gzip, 'bzip2': bz2, 'xz': lzma}[kind].compress(b''), 'damaged'
    yield 'gzip with a wrong sum', (p := gzip.compress(whole))[:-8]+b'\0\0\0\0'+p[-4:], 'damaged'
    yield 'gzip in gzip', gzip.compress(gzip.compress(whole)), 'damaged'
    yield 'nothing', b'', 'damaged'
    yield 'zeros', bytes(20_000), 'has no files'
    yield 'folders alone', tarred(member('a', type=tarfile.DIRTYPE)), 'has no files'
    yield 'a page', b'<html>not found</html>', 'damaged'


def zip_cases():
    both = ('ok.txt', b'ok'),
    deflated = dict(compress_type=zipfile.ZIP_DEFLATED)
    for name,match in bad_names():
        if len(name)<65_000: yield f'a file {name[:20]!r} ({len(name)})', zipped(*both, (name, b'x')), match
    for kind,name in (stat.S_IFLNK, 'link'),(stat.S_IFIFO, 'device'),(stat.S_IFCHR, 'device'),(stat.S_IFBLK, 'device'),(stat.S_IFSOCK, 'device'):
        yield f'a {name} {kind:o}', zipped(*both, ('x', b'/etc/passwd', dict(external_attr=(kind|0o777)<<16))), f'is a {name}'
    yield 'a name twice', zipped(*both, *both), 'occurs twice'
    yield 'a folder over a file', zipped(*both, ('ok.txt/', b'')), 'also a file'
    yield 'a file in a file', zipped(*both, ('ok.txt/x', b'x')), 'also a file'
    yield 'a bomb', zipped(*[(f'{i}', bytes(40*MB), deflated) for i in range(4)]), '`max_ratio` allows no more'
    yield 'a bomb of lzma', zipped(*[(f'{i}', bytes(40*MB), dict(compress_type=zipfile.ZIP_LZMA)) for i in range(4)]), '`max_ratio` allows no more'
    yield 'too many folders by their paths', zipped(*both, *[(f'{i}/'+'a/'*98+'b', b'') for i in range(10)]), '`max_files` allows no more', dict(max_files=11)
    yield 'a bomb of folders', zipped(*both, *[(f'{i}/'+'a/'*98+'b', b'') for i in range(400)]), '`max_ratio` allows no more'
    yield 'too many', zipped(*[(f'{i}', b'') for i in range(300)]), '`max_files` allows no more', dict(max_files=200)
    raw = zipped(('a.txt', b'0'*1000, deflated), ('b.txt', b'1'*1000))
    def central(offset, fmt, value, which=b'a.txt'):
        new = bytearray(raw)
        struct.pack_into(fmt, new, raw.rfind(which)-46+offset, value)
        return bytes(new)
    yield 'a size that is too small', central(24, '<L', 10), 'damaged'
    yield 'a size that is too large', central(24, '<L', 2000), 'has 1,000 bytes where'
    yield 'a size of 4 GB', central(24, '<L', 2**32-2), '`max_ratio` allows no more'
    yield 'a wrong sum', central(16, '<L', 1), 'damaged'
    yield 'another compression', central(10, '<H', 99), 'damaged'
    yield 'encrypted', central(8, '<H', 1), 'encrypted'
    yield 'a name that is not UTF-8', central(8, '<H', 0x800).replace(b'a.txt', b'a\xff\xfet'+b't'), 'damaged'
    yield 'an offset beyond the end', central(42, '<L', 2**31), 'damaged'
    yield 'an offset into the other', central(42, '<L', 12), 'damaged'
    yield 'another name in the local header', raw.replace(b'a.txt', b'c.txt', 1), 'damaged'
    yield 'members that overlap', central(42, '<L', 0, b'b.txt'), 'damaged'
    for k in range(1, 10): yield f'cut at {k}0%', raw[:len(raw)*k//10], 'damaged'
    yield 'rubbish', b'PK\3\4'+os.urandom(300), 'damaged'


@pytest.fixture(scope='module')
def box(tmp_path_factory):
    home = tmp_path_factory.mktemp('home')
    for i,o in enumerate([tarred(ok), gzip.compress(tarred(ok)), bz2.compress(tarred(ok)), lzma.compress(tarred(ok)), zipped(('a', b'a', dict(compress_type=14)))]): (home/f'{i}').write_bytes(o)
    box = Watched(home)
    for i in range(5): box('warm', 'unpack', str(home/f'{i}'), str(home/f'out{i}'), {})
    yield box
    box.close()


def below(events, folder):
    "What was written that is not below `folder`"
    return [o for o in events if str(folder) not in o and not o.startswith(('shutil.rmtree', 'os.rmdir', 'os.remove'))]


@needs_linux
@pytest.mark.parametrize('family', [tar_cases, zip_cases])
def test_refused(family, box, tmp_path):
    files,bad,peaks,told = [tmp_path/f'set{i}.tgz' for i in range(10)],[],[],[]
    cases = list(family())
    assert len({name for name,*_ in cases})==len(cases)
    (tmp_path/'data').mkdir()
    for some in batched(cases, len(files)):
        for file,(_,content,*_) in zip(files, some): file.write_bytes(content)
        told += box.many('unpack', [[str(file), str(tmp_path/'data'/file.stem), *(kwargs or [{}])] for file,(_,_,_,*kwargs) in zip(files, some)])
        assert os.listdir(tmp_path/'data')==[] and {*os.listdir(tmp_path)}=={'data', *(o.name for o in files)}, [o[0] for o in some]
    for i,((name,_,match,*_),res) in enumerate(zip(cases, told, strict=True)):
        file = files[i%len(files)]
        peaks.append((res['calls'], res['mb']))
        if os.environ.get('MYLIB_SHOW'): print(f"{family.__name__}: {name} | {res['calls']:,} calls | {res['mb']:.0f} MB | {res['error']}: {res['message'][:300].replace(str(file), 'FILE')}")
        right = res['error']=='UsageError' and re.search(match, res['message'], re.I) and len(res['message'])<1000
        if not right or below(res['events'], tmp_path/'data') or res['calls']>most_calls or res['mb']>most_mb: bad.append((name, match, {**res, 'message': res['message'][:1000], 'events': below(res['events'], tmp_path/'data')[:5]}))
    print(f"{family.__name__}: {len(cases)} refused, at most {max(o[0] for o in peaks):,} calls and {max(o[1] for o in peaks):.0f} MB")
    assert not bad, '\n'.join(map(str, bad))


@needs_linux
def test_what_is_odd_but_good(box, tmp_path):
    "Names of every kind, no rights of others, holes, one mark of an end, other formats"
    names = 'a b','a\nb','ä/ö/ü','中文','.hidden','-rf','ab:c','aux.txt','x'*255,'%2e%2e','a'*60+'/'+'b'*60+'/'+'c'*60, '~', '$HOME', '🙂'
    every = [member(n, n.encode()) for n in names]+[member('Case', b'1'), member('case', b'2'), member('empty'), member('folder', type=tarfile.DIRTYPE, mode=0o7777), member('root', b'x', mode=0o6777, uid=0, gname='root')]
    for i,raw in enumerate([tarred(*every), tarred(*every, form=tarfile.GNU_FORMAT), gzip.compress(tarred(*every)), tarred(*every, end=False)+bytes(512),
                            zipped(*[(m.name, content) for m,content in every if not m.isdir()], ('folder/', b''))]):
        (tmp_path/'set').write_bytes(raw)
        res = box('unpack', str(tmp_path/'set'), str(tmp_path/f'{i}'), {})
        assert not res['error'], res
        found = {str(o.relative_to(tmp_path/f'{i}')): o for o in (tmp_path/f'{i}').rglob('*')}
        assert {n for n in found if found[n].is_file()}=={m.name for m,_ in every if not m.isdir()}
        assert all(found[m.name].read_bytes()==content for m,content in every if not m.isdir())
        assert not any(o.stat().st_mode&0o6000 or o.is_symlink() for o in found.values())


def test_letters_that_are_not_told_apart(tmp_path, monkeypatch):
    "As on macOS and Windows, where the second of two names finds the first"
    mkdir = os.mkdir
    def once(path, *args, **kwargs):
        if os.path.basename(path)=='SET': raise FileExistsError(17, 'File exists', path)
        return mkdir(path, *args, **kwargs)
    monkeypatch.setattr(os, 'mkdir', once)
    (tmp_path/'a.tar').write_bytes(tarred(member('set/a', b'a'), member('SET/b', b'b')))
    with pytest.raises(ValueError, match='only by upper and lower case'): unpack(tmp_path/'a.tar', tmp_path/'out')
    assert os.listdir(tmp_path)==['a.tar']


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    import mylib.core.archive as archive
    def full(*_args): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(archive, '_copy', full)
    (tmp_path/'a.tar').write_bytes(tarred(ok))
    with pytest.raises(ValueError, match='No space left on device. Free some space'): unpack(tmp_path/'a.tar', tmp_path/'out')
    assert os.listdir(tmp_path)==['a.tar']


def test_untar_data_leaves_nothing_of_a_bad_one(tmp_path):
    (tmp_path/'set.tgz').write_bytes(tarred(ok, member('../out', b'x')))
    with pytest.raises(ValueError, match='leads out'): untar_data(tmp_path/'set.tgz', data=tmp_path/'data')
    assert list((tmp_path/'data').iterdir())==[]
    (tmp_path/'set.tgz').write_bytes(tarred(ok))
    untar_data(tmp_path/'set.tgz', data=tmp_path/'data')
    (tmp_path/'set.tgz').write_bytes(tarred(ok, ok))
    with pytest.raises(ValueError, match='twice'): untar_data(tmp_path/'set.tgz', data=tmp_path/'data', force_download=True)
    assert [o.name for o in (tmp_path/'data').rglob('*')]==['set', 'ok.txt']
