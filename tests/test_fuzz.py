"""Good files with something changed: whatever it is, loading ends soon, in a learner that predicts or in words

`MYLIB_LONG=1 pytest tests/test_fuzz.py` tries some thousands of changes, others each time; without it a few hundred, always the same.
"""
import bz2, copy, gzip, io, json, lzma, os, re, shutil, struct, sys, tarfile, tempfile, warnings

import numpy as np
import pytest

os.environ.setdefault('HYPOTHESIS_STORAGE_DIRECTORY', os.path.join(tempfile.gettempdir(), 'hypothesis'))
from hypothesis import HealthCheck, given, settings, strategies as st # noqa: E402

from mylib.core.archive import unpack # noqa: E402
from mylib.core.core import UsageError # noqa: E402
from mylib.deploy.load import load_learner # noqa: E402
from mylib.deploy.parts import find_part, part_names # noqa: E402
from test_strangers import Forge, of_header, small_learner, zipped # noqa: E402
from test_strangers_tables import rated, ratings_learner, row, table_learner # noqa: E402
from watched import memory, opens_for_writing # noqa: E402

long = bool(os.environ.get('MYLIB_LONG'))
picture = np.arange(20*16*3, dtype=np.uint8).reshape(20, 16, 3)
counts = {}
learners = dict(pictures=small_learner, table=table_learner, ratings=ratings_learner)
if long: learners.update(table_mlp=lambda o: table_learner(o, 'mlp', 'income'), ratings_nn=lambda o: ratings_learner(o, 'nn'))
items = dict(pictures=[picture], table=[row, {**row, 'city': 'Rome', 'age': float('inf')}], ratings=[rated, dict(user=10**6, movie=None)])


def tries(n, many):
    return settings(max_examples=many if long else n, deadline=10_000, derandomize=not long, database=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture, HealthCheck.large_base_example])


class Watch:
    "Notes what the process does while it is on"
    def __init__(self):
        self.on,self.events,self.allowed = False,[],''
        sys.addaudithook(self.hook) # for ever, so there is one

    def hook(self, event, args):
        if not self.on: return
        if event=='open': bad = opens_for_writing(args) and '__pycache__' not in str(args[0]) and not str(args[0]).startswith(self.allowed or '\0') and not isinstance(args[0], int)
        elif event=='exec': bad = not re.search('site-packages|lib/python|mylib|<frozen|<string>', getattr(args[0], 'co_filename', '<source>'))
        else: bad = event.startswith(('subprocess.', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'socket.', 'pickle.', 'os.symlink', 'os.link', 'os.chmod'))
        if bad: self.events.append(f'{event} {args}'[:200])

    def __call__(self, f, allowed=''):
        "What `f()` gives, or its UsageError; it may write to names that begin with `allowed`"
        linux = sys.platform=='linux'
        if linux:
            with open('/proc/self/clear_refs', 'w') as o: o.write('5')
            before = memory('VmRSS')
        self.events.clear()
        self.on,self.allowed = True,allowed
        try: res = f()
        except UsageError as e: res = e
        finally: self.on = False
        assert not self.events
        assert not linux or memory('VmHWM')-before<200
        assert not isinstance(res, UsageError) or len(str(res))<2000 and str(res).rstrip().endswith(('.', '!', '?', ')')), str(res)
        kind = 'refused' if isinstance(res, UsageError) else 'accepted'
        counts[kind] = counts.get(kind, 0)+1
        return res


@pytest.fixture(scope='module', params=list(learners))
def kind(request): return request.param


@pytest.fixture(scope='module')
def raw(kind, tmp_path_factory): return learners[kind](tmp_path_factory.mktemp('good')).export().read_bytes()


@pytest.fixture(scope='module')
def watch():
    import sklearn.metrics # noqa: F401
    for o in part_names(): find_part(o)
    yield Watch()
    print(f'\n{counts}')


@pytest.fixture(scope='module')
def check(watch, kind, raw, tmp_path_factory):
    "Load what may be a bundle, and predict with it"
    folder = tmp_path_factory.mktemp('fuzz')
    def _use(file):
        learn = load_learner(file)
        known = dict(ImageBlock='pictures', TableBlock=kind).get(type(learn.dls.blocks[0]).__name__)
        if known!=kind: return learn
        preds = [learn.predict(o) for o in items[kind.split('_')[0]]]
        return [str(o[0]) for o in preds][0]
    def _check(content):
        (folder/'model.mylib').write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore') # of odd values, and of numbers that overflow
            res = watch(lambda: _use(folder/'model.mylib'))
        assert os.listdir(folder)==['model.mylib']
        return res
    assert not isinstance(_check(raw), UsageError)
    return _check


places = st.floats(0, 1, exclude_max=True)
edits = st.lists(st.tuples(st.sampled_from(['flip', 'set', 'cut', 'insert', 'repeat', 'number']), places, st.integers(0, 255), st.integers(1, 40)), min_size=1, max_size=5)


def edited(raw, changes):
    "`raw` after each of the `changes`"
    for how,where,value,length in changes:
        at = int(where*len(raw))
        old = raw[at:at+length]
        new = {'flip': bytes([raw[at]^(1<<value%8)])+raw[at+1:at+length] if old else b'', 'set': bytes([value])*len(old), 'cut': b'', 'insert': bytes([value])*length+old, 'repeat': old+old,
               'number': struct.pack('<q', [-1, 0, 2**31, 2**32-1, 2**62, -2**63, 1, 46][value%8])[:len(old)].ljust(len(old), b'\0')}[how]
        raw = raw[:at]+new+raw[at+length:]
    return raw


names = st.sampled_from([*part_names(), 'os.system', '__import__', 'builtins.eval', 'timm.create_model', 'vision.Resize', 'data.CategoryBlock', 'train.argmax'])
numbers = st.one_of(st.integers(-3, 40), st.sampled_from([0, 1, 255, 4096, 10**4, 10**9, 2**31, 2**53, 2**62, 10**30, -10**9]), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1e-300, 1e300, -0.0]))
arguments = st.sampled_from('size method pad_mode resamples min_scale max_scale ratio val_xtra p mean std div div_mask cls vocab sort add_na filters kernel_szs strides bn n_in n_out widths arch arch_args img_size axis thresh '
                            'encoded c type_tfms item_tfms batch_tfms dl_type max_zoom max_rotate max_warp mode batch y_range lin_ftrs ps weight reduction part args partial given '
                            'procs cat_names cont_names y_names with_cont na_dict na_cols add_col fill_vals fill_strategy classes dates days means stds age hours job city user movie '
                            'emb_szs n_cont layers average scale_y k mini numbers num_args bins dim waves act_cls embed_p use_bn n_users n_items n_factors n_pairs loss_func'.split())
texts = st.one_of(st.text(max_size=12), names, st.sampled_from(['crop', 'pad', 'squish', 'reflection', 'zeros', 'timm.resnet10t', 'torchvision.alexnet', 'ensemble', 'mlp', 'periodic', 'implicit', 'dot', 'nn', 'GELU', 'numbers', 'age', 'city', 'Lima', '2024-01-31', '../x', '/etc/passwd']))
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
trees = st.recursive(leaves, lambda o: st.one_of(st.lists(o, max_size=4), st.dictionaries(arguments, o, max_size=4), st.fixed_dictionaries({'part': names}),
                                                 st.builds(lambda n, a: {'part': n, 'args': a}, names, st.dictionaries(arguments, o, max_size=3)),
                                                 st.builds(lambda n, a: {'part': n, 'partial': a}, names, st.dictionaries(arguments, o, max_size=2))), max_leaves=8)


def paths_of(d, path=()):
    "The places in a tree"
    yield path
    for k,o in (d.items() if isinstance(d, dict) else enumerate(d) if isinstance(d, list) else ()): yield from paths_of(o, (*path, k))


def changed(d, changes):
    "The tree `d` with things put in other places"
    d = copy.deepcopy(d)
    for how,where,other,value in changes:
        paths = [p for p in paths_of(d) if p and p[0] not in ('versions', 'sha256', 'left_out')]
        if not paths: return d
        *path,last = paths[int(where*len(paths))]
        owner = d
        for k in path: owner = owner[k]
        if how=='set': owner[last] = value
        elif how=='drop': del owner[last]
        elif how=='wrap': owner[last] = [owner[last]]
        elif how=='twice' and isinstance(owner, list): owner.insert(last, copy.deepcopy(owner[last]))
        elif how=='add' and isinstance(owner[last], list): owner[last].append(value)
        elif how=='name' and isinstance(owner[last], dict): owner[last]['size'] = value
        else:
            source = d
            for k in paths[int(other*len(paths))]: source = source[k]
            owner[last] = copy.deepcopy(source)
    return d


tree_changes = st.lists(st.tuples(st.sampled_from(['set', 'set', 'drop', 'wrap', 'twice', 'add', 'name', 'copy']), places, places, trees), min_size=1, max_size=3)


@tries(60, 5000)
@given(changes=edits)
def test_bytes(check, raw, changes): check(edited(raw, changes))


@tries(100, 6000)
@given(changes=tree_changes)
def test_description(check, raw, changes):
    f = Forge(raw)
    d = changed({k: v for k,v in f.d.items() if k!='sha256'}, changes)
    if isinstance(d, dict): check(f(text=json.dumps({**d, 'sha256': f.d['sha256']}) if len(d)<9 else None, **d))


@tries(30, 2000)
@given(text=edits)
def test_text_of_the_description(check, raw, text):
    f = Forge(raw)
    check(f(text=edited(json.dumps(f.d).encode(), text)))


@tries(40, 3000)
@given(changes=tree_changes, data=st.one_of(st.none(), edits))
def test_header_of_the_weights(check, raw, changes, data):
    f = Forge(raw)
    n = int.from_bytes(f.blob[:8], 'little')
    body = f.blob[8+n:]
    check(f(blob=of_header(changed(json.loads(f.blob[8:8+n]), changes), body if data is None else edited(body, data))))


@tries(20, 1500)
@given(changes=edits)
def test_bytes_of_the_weights(check, raw, changes):
    f = Forge(raw)
    check(f(blob=edited(f.blob, changes)))


members = st.lists(st.tuples(st.sampled_from(['bundle.json', 'model.safetensors', '../bundle.json', 'data.pkl', 'bundle.json/', 'a'*300]), st.sampled_from(['text', 'weights', 'nothing', 'pickle']),
                             st.fixed_dictionaries({}, optional=dict(compress_type=st.sampled_from([0, 8, 12, 14]), external_attr=st.sampled_from([0, 0o120777<<16, 0o40755<<16, 0x10]),
                                                                     comment=st.binary(max_size=20), create_system=st.integers(0, 255), extra=st.sampled_from([b'', b'\1\0\4\0abcd', b'up\5\0\1abcd'])))), max_size=4)


@tries(30, 2000)
@given(chosen=members, after=st.one_of(st.none(), edits))
def test_members(check, raw, chosen, after):
    f = Forge(raw)
    content = dict(text=json.dumps(f.d).encode(), weights=f.blob, nothing=b'', pickle=b"cos\nsystem\n(S'touch owned'\ntR.")
    made = zipped(*[(name, content[what], attrs) for name,what,attrs in chosen])
    check(made if after is None else edited(made, after))


def small_tar(form):
    f = io.BytesIO()
    with tarfile.open(fileobj=f, mode='w', format=form) as t:
        for name,content in ('set/a.txt', b'a'*600),('set/'+'b'*60+'/'+'c'*60, b'b'),('set/sub/c.txt', b''):
            m = tarfile.TarInfo(name)
            m.size = len(content)
            t.addfile(m, io.BytesIO(content))
    return f.getvalue()


def summed(raw, changes):
    "A tar edited in its headers, with sums that are right again"
    raw = bytearray(raw)
    for where,place,value in changes:
        at = int(where*(len(raw)//512))*512
        if raw[at+257:at+262]!=b'ustar': continue
        start,end = [(0, 100), (100, 108), (124, 136), (156, 157), (157, 257), (345, 500), (386, 500)][place]
        raw[at+start:at+end] = (value*(end-start))[:end-start]
        raw[at+148:at+156] = b'%06o\0 ' % (sum(raw[at:at+512])-sum(raw[at+148:at+156])+8*32)
    return bytes(raw)


@pytest.fixture(scope='module')
def try_archive(watch, tmp_path_factory):
    "Unpack what may be an archive"
    folder = tmp_path_factory.mktemp('archives')
    def _check(content):
        file,dest = folder/'set.tgz',folder/'data'/'set'
        file.write_bytes(content)
        (folder/'data').mkdir(exist_ok=True)
        res = watch(lambda: unpack(file, dest, max_bytes=10**7, max_files=1000), allowed=str(folder/'data'))
        assert sorted(os.listdir(folder))==['data', 'set.tgz']
        assert os.listdir(folder/'data')==([] if isinstance(res, UsageError) else ['set'])
        for o in dest.rglob('*') if dest.exists() else ():
            assert not o.is_symlink() and (o.is_file() or o.is_dir())
        shutil.rmtree(folder/'data')
    return _check


packers = dict(none=bytes, gzip=gzip.compress, bzip2=bz2.compress, xz=lzma.compress)
fields = st.lists(st.tuples(places, st.integers(0, 6), st.one_of(st.sampled_from([b'0', b'7', b'\xff', b'\x80\x7f', b'../', b'/', b'x', b'g', b'L', b'K', b'S', b'1', b'2', b'3', b'5', b'6', b'0000000001', b'-1 ']), st.binary(min_size=1, max_size=8))), max_size=4)


@tries(150, 6000)
@given(form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]), before=fields, raw_before=st.one_of(st.none(), edits), how=st.sampled_from(list(packers)), after=st.one_of(st.none(), edits))
def test_tars(try_archive, form, before, raw_before, how, after):
    content = summed(small_tar(form), before)
    content = packers[how](content if raw_before is None else edited(content, raw_before))
    try_archive(content if after is None else edited(content, after))


@tries(100, 4000)
@given(kind=st.sampled_from([0, 8, 12, 14]), changes=edits)
def test_zips(try_archive, kind, changes):
    try_archive(edited(zipped(('set/a.txt', b'a'*600, dict(compress_type=kind)), ('set/sub/b.txt', b'b'), ('set/c/', b'')), changes))
