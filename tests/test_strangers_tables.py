"""Exported models of tables and of ratings from strangers: each is refused at once, in words, and nothing of it runs

`MYLIB_SHOW=1 pytest -s tests/test_strangers_tables.py` prints what each is told, and what it cost.
"""
import copy, functools, uuid, warnings

import pytest
import torch
from safetensors.torch import load

from mylib.core.testing import synth_table
from mylib.deploy.load import load_learner
from mylib.tabular.collab import collab_learner
from mylib.tabular.data import TabularDataLoaders
from mylib.tabular.learner import tabular_learner
from mylib.tabular.ratings import CollabDataLoaders, synth_ratings
from test_strangers import Forge, refuse_all
from watched import needs_linux, warmed

row = dict(job='cook', city='Lima', age=30, hours=None)
rated = dict(user=3, movie=2)


def table_learner(folder, arch='ensemble', y_names='rich', **kwargs):
    dls = TabularDataLoaders.from_df(synth_table(80), y_names=y_names, cat_names=['job', 'city'], cont_names=['age', 'hours'], seed=1, device='cpu', bs=32, path=folder)
    torch.manual_seed(0)
    return tabular_learner(dls, arch=arch, **{'layers': [8, 8], **kwargs})


def ratings_learner(folder, arch='implicit'):
    dls = CollabDataLoaders.from_df(synth_ratings(60, 8, 6), seed=1, device='cpu', path=folder)
    torch.manual_seed(0)
    return collab_learner(dls, arch=arch, y_range=(0, 5.5), **(dict(layers=[8]) if arch=='nn' else dict(n_factors=3)))


class Table(Forge):
    "Makes bundles of tables"
    def block(self, **args):
        "With other arguments of its table"
        blocks = copy.deepcopy(self.d['blocks'])
        blocks[0]['args'].update(args)
        return self(blocks=blocks)

    def proc(self, name, **args):
        "With other arguments of a processor"
        procs = copy.deepcopy(self.d['blocks'][0]['args']['procs'])
        next(o for o in procs if o['part']==f'tabular.{name}')['args'].update(args)
        return self.block(procs=procs)

    def classes(self, **changes):
        old = next(o for o in self.d['blocks'][0]['args']['procs'] if o['part']=='tabular.Categorify')['args']['classes']
        return self.proc('Categorify', classes={k: v for k,v in {**old, **changes}.items() if v!='gone'})

    def target(self, part, **args): return self(blocks=[*self.d['blocks'][:-1], {'part': part, 'args': args}])


wrong_numbers = 'abc', 3, ['age', 'hours'], {'age': 'x', 'hours': 1.}, {'age': None, 'hours': 1.}, {'age': [1], 'hours': 1.}, {'age': True, 'hours': 1.}, {'age': {'a': 1}, 'hours': 1.}


def written(*values): return {'part': 'core.read_values', 'args': {'of': list(values)}}
def written_dict(names, values): return {'part': 'core.read_dict', 'args': {'names': names, 'values': values}}
nested = functools.reduce(lambda o, _: ['tuple', [o]], range(30), 1)


def procs_cases(f):
    "What prepares the rows"
    fill,cat,norm = f.d['blocks'][0]['args']['procs']
    for o in 'abc', 3, True, {'a': 1}, [3], [None], ['tabular.Categorify'], [[cat]], {'part': 'train.softmax'}, [{'part': 'vision.Resize', 'args': {'size': 8}}], [{'part': 'tabular.Categorify'}], [{'part': 'tabular.Normalize', 'partial': {}}]:
        yield f'the processors {str(o)[:60]!r}', f.block(procs=o), 'no processor|cannot be made'
    yield 'no processors', f.block(procs=[]), 'do not fit each other'
    yield 'no categories', f.block(procs=[fill, norm]), 'Add Categorify'
    yield 'processors that learned nothing', f.block(procs=[{'part': o['part'], 'args': {}} for o in (fill, cat, norm)]), 'has nothing for 2 columns'
    for o in [cat, fill, norm], [norm, fill, cat], [fill, norm, cat][::-1]: yield f"the order {[p['part'] for p in o]}", f.block(procs=o), 'cannot run in this order'
    yield '90 processors in the worst order', f.block(procs=[cat]*45+[fill]*45), 'cannot run in this order'
    yield 'categories coded twice', f.block(procs=[fill, cat, cat, norm]), 'Use Categorify once'
    yield '900 processors', f.block(procs=[cat]*450+[fill]*450), '100 are the most'
    yield 'a model as processor', f.block(procs=[f.d['model']]), 'where none belongs'
    yield 'a table as processor', f.block(procs=[f.d['blocks'][0]]), 'no processor'
    yield 'a processor of os', f.block(procs=[{'part': 'os.system', 'args': {'command': 'touch owned'}}]), 'the file names a part'

    for o in 'abc', 3, True, ['job', 'city'], [['job', ['a']]]: yield f'the classes {o!r}', f.proc('Categorify', classes=o), 'must be a dict from columns'
    yield 'no classes', f.proc('Categorify', classes=None), 'has nothing for 2 columns'
    yield 'a category without classes', f.classes(job='gone'), 'has nothing for 1 columns'
    yield 'a gap without classes', f.classes(hours_na='gone'), 'do not fit each other'
    yield 'classes of a column too many', f.classes(colour=['red']), '4 lists of categories for 3 columns'
    for o in 'cook', 3, 3.5, True, None, {}, {'a': 1}, {'x': []}, {'dates': ['nonsense']}, {'dates': 'nonsense'}, {'dates': [5]}, {'dates': None}, {'days': 5}, {'days': ['2024-13-01']}, {'days': [None]}, {'dates': [], 'days': []}, \
             [['a'], ['b']], [{'a': 1}], ['cook', ['nurse']]:
        yield f'the jobs {o!r}', f.classes(job=o), "must be a list of text|not of dates"
    yield 'a job too many', f.classes(job=['cook', 'driver', 'nurse', 'teacher', 'spy']), 'index out of range'
    yield '100,000 jobs', f.classes(job=[f'j{i}' for i in range(100_000)]), 'index out of range'
    yield 'three values of a gap', f.classes(hours_na=[False, True, 'perhaps']), 'index out of range'
    yield 'dates that are too many', f.classes(job={'dates': [f'2024-01-{i:02}' for i in range(1, 20)]}), 'index out of range'
    for o in ['eval', '1'], ['timestamp', 'now'], ['date', 'today'], ['int', '1_0'], ['decimal', 'sNaN'], ['text', 'ab'], ['path', ['/etc']], ['interval', [1, 0, 'right']], ['interval', [['eval', '1'], 2, 'left']], ['period', [2**62, 'D;D']], \
             ['timedelta', [2**62, 0, 0, 0]], ['tuple', [['tuple', 'x']]], ['int'], [], ['int', '1', 2], [['int', '1'], 1], ['uuid', 'x'*36], ['bytes', ['zz']]:
        yield f'the job {o!r}', f.classes(job=written(o)), 'which stands for no|which this version of the library does not know'
    yield 'a job in a dict', f.classes(job=written({'part': 'os.system'})), 'the file names a part'
    yield 'jobs of the same hash', f.classes(job=written(*[['int', str(k*(2**61-1))] for k in range(20_000)])), 'the same hash'
    yield 'ids of the same hash', f.classes(job=written(*[['uuid', str(uuid.UUID(int=k*(2**61-1)))] for k in range(20_000)])), 'the same hash'
    yield 'a job that nests', f.classes(job=written(nested)), 'nested'
    for o in {'part': 'core.read_values'}, {'part': 'core.read_values', 'partial': {}}, {'part': 'core.read_values', 'args': {'of': 3}}, {'part': 'core.read_dict', 'args': {'names': ['a'], 'values': [1]}}:
        yield f'the jobs {o!r}', f.classes(job=o), 'must be a list|not of dates'
    for names,values in ([['age'], 'hours'], [1., 2.]), (['age', 'age'], [1., 2.]), (['age', 'hours'], [1.]), ('age', 1.): yield f'a dict of {names!r}', f.proc('Normalize', means=written_dict(names, values)), 'one a value'
    yield 'means for other columns', f.proc('Normalize', means=written_dict([1, 2], [1., 2.])), 'has nothing for'
    for k in 'FillMissing', 'Categorify':
        for o in 'hours', 3, {'hours': 1}, [['hours']], [None], [{'a': 1}]: yield f'{k} with the columns {o!r}', f.proc(k, na_cols=o), 'list of names'
    yield 'gaps of a column that is not there', f.proc('FillMissing', na_cols=['hours', 'age']), 'do not fit each other'
    for o in 'x', 3, None, [], {}: yield f'add_col={o!r}', f.proc('FillMissing', add_col=o), 'must be True or False'
    yield 'gaps that are not noted', f.proc('FillMissing', add_col=False), 'do not fit each other'
    for o in wrong_numbers: yield f'na_dict={o!r}', f.proc('FillMissing', na_dict=o), '`na_dict` has'
    for o in None, {}, {'age': 1.}, {'Age': 1., 'Hours': 1.}: yield f'na_dict={o!r}', f.proc('FillMissing', na_dict=o), 'has nothing for'
    yield 'a constant that is text', f.proc('FillMissing', fill_vals={'age': 'x'}), '`fill_vals` has'
    for o in 'os.system', 3, None: yield f'the strategy {o!r}', f.proc('FillMissing', fill_strategy=o), 'cannot be called'
    for k in 'means', 'stds':
        for o in wrong_numbers: yield f'{k}={o!r}', f.proc('Normalize', **{k: o}), f'`{k}` has'
        for o in None, {}, {'age': 1.}, {'Age': 1., 'Hours': 1.}: yield f'{k}={o!r}', f.proc('Normalize', **{k: o}), 'has nothing for'
    for o in 0, -1., 0., -0.0, -1e-300, -2**62: yield f'a deviation of {o!r}', f.proc('Normalize', stds={'age': o, 'hours': 1.}), 'above 0'
    yield 'numbers that overflow', f.proc('Normalize', means={'age': 1e300, 'hours': 1.}, stds={'age': 1e-300, 'hours': 1.}), 'do not fit each other'
    for k in 'FillMissing', 'Categorify', 'Normalize': yield f'{k} with more', f.proc(k, command='touch owned'), "unexpected keyword argument 'command'"


def block_cases(f):
    "The table itself, and its target"
    block,*_,target = f.d['blocks']
    for k in 'cat_names', 'cont_names', 'y_names':
        for o in {'a': 1}, [['job']], [None], [{'a': 1}], [True]: yield f'{k}={o!r}', f.block(**{k: o}), 'list of names'
    for o in 'job', ['job'], ['city', 'job', 'age'], [], None, [1, 2], 3, ['Job', 'City']: yield f'the categories {o!r}', f.block(cat_names=o), 'more than once|nothing for|lists of categories|index out of range|do not fit each other'
    yield 'the categories in another order', f.block(cat_names=['city', 'job']), 'index out of range'
    for o in 'age', ['age'], ['age', 'hours', 'size'], [], None, [1, 2], ['Age', 'Hours']: yield f'the numbers {o!r}', f.block(cont_names=o), 'nothing for|do not fit each other'
    yield 'no columns', f.block(cat_names=[], cont_names=[]), 'no columns to predict from'
    for k,o in ('cat_names', ['job', 'job']), ('cont_names', ['age', 'age']), ('cont_names', ['age', 'job']), ('y_names', ['rich', 'rich']), ('y_names', ['age']): yield f'{k}={o!r}', f.block(**{k: o}), 'more than once'
    for o in [], None, ['rich', 'poor'], 'a'*900+'b', ['rich']*10**5: yield f'the targets {str(o)[:40]!r}', f.block(y_names=o) if o!='a'*900+'b' else f.block(y_names=['a'*900]*2), 'targets, which|more than once'
    for o in 'x', 3, None, 1, [], {}: yield f'with_cont={o!r}', f.block(with_cont=o), 'must be True or False'
    yield 'without numbers', f.block(with_cont=False), 'n_inp'
    yield '100,000 categories', f.block(cat_names=[f'c{i}' for i in range(100_000)]), 'nothing for'
    yield '100,000 numbers', f.block(cont_names=[f'c{i}' for i in range(100_000)]), 'nothing for'
    yield '100,000 numbers and no processor', f(blocks=[{'part': 'tabular.TableBlock', 'args': {'cont_names': [f'c{i}' for i in range(100_000)], 'y_names': ['rich']}}, *f.d['blocks'][1:]], **model_of(f, n_cont=100_000)), 'a size of 100000'
    yield 'names of 900 letters', f.block(cat_names=['a'*900, 'b'*900]), 'nothing for'
    yield 'a table with more', f.block(command='touch owned'), "unexpected keyword argument 'command'"
    yield 'a table as target', f(blocks=[*f.d['blocks'][:-1], block]), 'but not first'
    yield 'a table in all slots', f(blocks=[block]*3), 'but not first'
    yield 'a table as its own numbers', f(blocks=[block, block, target]), 'but not first'
    yield 'a table alone', f(blocks=[block]), 'n_inp|one for its target'
    yield 'a table and a target', f(blocks=[block, target]), 'makes 2 inputs'
    yield 'a table behind its target', f(blocks=f.d['blocks'][::-1]), 'but not first'
    yield 'pictures as numbers', f(blocks=[block, {'part': 'vision.ImageBlock', 'args': {}}, target]), 'one for its target'
    yield 'pictures as target', f(blocks=[*f.d['blocks'][:-1], {'part': 'vision.ImageBlock', 'args': {}}]), 'one for its target'
    yield 'four slots', f(blocks=[block, *f.d['blocks'][1:2]*2, target]), 'makes 2 inputs'
    for n in 0, 1, 3, 4, -1, 2**62: yield f'n_inp={n}', f(n_inp=n), 'n_inp'
    yield 'fewer classes than outputs', f.target('data.CategoryBlock', vocab=['no']), 'its target has 1'
    yield 'a number as target', f.target('data.RegressionBlock', n_out=1), 'Choose another metric'
    yield 'two numbers as target', f.target('data.RegressionBlock', n_out=2), 'names 1 targets'
    yield 'a billion numbers as target', f.target('data.RegressionBlock', n_out=10**9), 'names 1 targets'
    yield 'a batch step for pictures', f(batch_tfms=[{'part': 'vision.Normalize', 'args': {'mean': [0.5]*3, 'std': [1.]*3}}, {'part': 'train.argmax'}]), 'do not fit each other'
    for o in 3, 'x', None, []: yield f'members with the loss {o!r}', f(training={'loss_func': {'part': 'tabular.MemberLoss', 'args': {'loss_func': o}}}), 'loss'
    yield 'members of members of members', f(training={'loss_func': members(30)}), 'nested'
    yield 'a model as loss', f(training={'loss_func': {'part': 'tabular.MemberLoss', 'args': {'loss_func': f.d['model']}}}), 'where none belongs'


def members(n): return {'part': 'tabular.MemberLoss', 'args': {'loss_func': members(n-1) if n else {'part': 'train.softmax'}}}
def model_of(f, **args): return {'model': {'part': f.d['model']['part'], 'args': {**f.d['model']['args'], **args}}}


def size_cases(f, names, net=True):
    "Sizes that no model has"
    for k in names:
        for o in 10**9, 2**62, -10**9: yield f'{k}={o}', f(**model_of(f, **{k: o})), f'a size of {o}'
        for o in -1, 0, 'a', None, 2.5, True, [], {}, 4000: yield f'{k}={o!r}', f(**model_of(f, **{k: o})), f'`{k}` has|do not fit|cannot be made|fit each other'
        yield f'a part as {k}', f(**model_of(f, **{k: {'part': 'vision.Resize'}})), 'plain data'
    if net: yield from net_sizes(f)
    for o in 'ab', 3, {'a': 1}, [5, 4], [[5]], [[5, 4, 3]], [['a', 'b']], [[0, 4]], [[5, 0]], [[-5, 4]], [[5.5, 4]], [[True, 4]], [None]: yield f'emb_szs={o!r}', f(**model_of(f, emb_szs=o)), r'such as \(5, 4\)|do not fit'
    for o in [[10**9, 4]], [[5, 10**9]], [[2**62, 1]]: yield f'emb_szs={o!r}', f(**model_of(f, emb_szs=o)), 'a size of'
    yield '100,000 embeddings', f(**model_of(f, emb_szs=[[5, 4]]*10**5)), '200 are the most'
    for o in 'ab', 3.5, {'a': 1}, ['a'], [None], [0], [-8], [8.5], [[8]]: yield f'layers={o!r}', f(**model_of(f, layers=o)), '`layers` has|do not fit'
    yield 'layers of a billion', f(**model_of(f, layers=[10**9])), 'a size of'
    yield '100,000 layers', f(**model_of(f, layers=[8]*10**5)), '200 are the most'
    for o in 'ab', 'a', [], [1], [1, 2, 3], [5, 0], [1, 1], [None, 1], ['a', 'b'], [[0, 1], [2, 3]], {'a': 1}, 3, [0, 1]*10**4: yield f'y_range={str(o)[:30]}', f(**model_of(f, y_range=o)), 'must be two numbers|lower end, then the upper'
    yield 'a model in y_range', f(**model_of(f, y_range=[{'part': 'nn.simple_cnn', 'args': {'filters': [4096]*199}}, 1])), 'must be two numbers'
    yield 'a setting that is none', f(**model_of(f, evil=1)), 'no setting|evil'
    yield 'a model without arguments', f(model={'part': f.d['model']['part'], 'args': {}}), 'cannot be made|do not fit'
    yield 'the model as a function', f(model={'part': f.d['model']['part']}), 'which is no model'
    for o in 'os.system', '', None, 3, ['mlp'], {'a': 1}, 'mlp.evil', '__class__': yield f'the architecture {o!r}', f(**model_of(f, arch=o)), 'must be one of|cannot be made'
    for name in 'vision.model', 'nn.simple_cnn': yield f'the model {name}', f(model={'part': name, 'args': f.d['model']['args']}), 'cannot be made'


def net_sizes(f):
    yield '150 embeddings', f(**model_of(f, emb_szs=[[5, 4]]*150)), 'do not fit'
    yield '400 embeddings', f(**model_of(f, emb_szs=[[5, 4]]*400), blob=many_weights(1900)), 'do not fit'
    yield '900 layers', f(**model_of(f, layers=[8]*900), blob=many_weights(9999)), '200 are the most'
    yield 'layers of 4,000', f(**model_of(f, layers=[4000, 4000])), 'do not fit'


def many_weights(n):
    from safetensors.torch import save
    return save({f'w{i}': torch.ones(1) for i in range(n)})


def model_cases(f):
    "The model of a table"
    yield from size_cases(f, ['n_cont', 'n_out', 'k'] if f.d['model']['args']['arch']=='ensemble' else ['n_cont', 'n_out'])
    for o in 'os.system', 'relu', 3, ['ReLU'], True, {'a': 1}: yield f'act_cls={o!r}', f(**model_of(f, act_cls=o)), 'act_cls|cannot be made'
    yield 'a part as activation', f(**model_of(f, act_cls={'part': 'train.softmax'})), 'plain data'
    for k in 'ps', 'embed_p':
        for o in 'a', 5, -1, [0.1]*7, {'a': 1}, ['a', 'b']: yield f'{k}={o!r}', f(**model_of(f, **{k: o})), 'cannot be made'
    for o in 'mlp', 'periodic', 'robust', 'piecewise', 'ensemble_mini', 'ensemble':
        if o!=f.d['model']['args']['arch']: yield f'arch={o}', f(**model_of(f, arch=o)), 'do not fit'
    if f.d['model']['args']['arch']!='ensemble': return
    for o in 'a', [1], {'bins': 10**9}, {'dim': -1}, {'dim': 0}, {'bins': 0}, {'bins': 'a'}, {'dim': 2.5}, {'evil': 1}, {'bins': 4000}: yield f'num_args={o!r}', f(**model_of(f, num_args=o)), 'num_args|cannot be made|do not fit|a size of'
    for o in 'evil', 3, None, [], {}: yield f'numbers={o!r}', f(**model_of(f, numbers=o)), 'must be one of|cannot be made'
    for o in 'evil', 3, None, [], {}: yield f'average={o!r}', f(**model_of(f, average=o)), 'must be one of|cannot be made'
    yield 'a scale of text', f(**model_of(f, scale_y='x')), 'do not fit'


def ratings_cases(f):
    "The model of ratings, and its table"
    yield from size_cases(f, ['n_users', 'n_items', 'n_factors', 'n_pairs'], net=False)
    classes = f.d['blocks'][0]['args']['procs'][0]['args']['classes']
    yield 'a user too many', f.classes(user=[*classes['user'], 99]), 'index out of range'
    yield '100,000 films', f.classes(movie=list(range(100_000))), 'index out of range|cannot be predicted'
    yield 'users without films', f.block(cat_names=['user']), 'do not fit each other|lists of categories'
    yield 'no users', f.classes(user='gone'), 'nothing for'
    yield 'a slot for numbers', f.block(with_cont=True), 'n_inp'
    yield 'two ratings', f.block(y_names=['rating', 'other']), 'names 2 targets'
    yield 'settings of a net', f(**model_of(f, ps=0.1)), 'is for a net'
    for o in 'dot', 'nn': yield f'arch={o}', f(**model_of(f, arch=o)), r'do not fit|such as \(5, 4\)|cannot be made'
    w = load(f.blob)
    for k in 'by_user', 'by_item':
        for name,o in dict(reversed=w[k].flip(0), negative=w[k]-10**6, beyond=w[k]+10**6, huge=torch.full_like(w[k], 2**62), least=torch.full_like(w[k], -2**63), waves=torch.where(torch.arange(len(w[k]))%2==0, w[k], 0)).items():
            yield f'{k} {name}', f.weights(**{k: o}), 'not sorted, or not below'
        yield f'{k} of fractions', f.weights(**{k: w[k].float()}), 'of another type'
        yield f'{k} that is shorter', f.weights(**{k: w[k][:3]}), 'of another shape'
        yield f'no {k}', f.weights(**{k: None}), 'missing: '


def net_cases(f):
    "The net of ratings"
    yield from size_cases(f, [])
    for o in dict(n_cont=3), dict(out_sz=10**3), dict(self=1), dict(command='touch owned'): yield f'the settings {o}', f(**model_of(f, **o)), 'cannot be made'
    yield 'three embeddings', f(**model_of(f, emb_szs=[*f.d['model']['args']['emb_szs'], [5, 4]])), 'do not fit'
    yield 'embeddings swapped', f(**model_of(f, emb_szs=f.d['model']['args']['emb_szs'][::-1])), 'do not fit'


learners = dict(ensemble=table_learner, mlp=lambda o: table_learner(o, 'mlp'), implicit=ratings_learner, nn=lambda o: ratings_learner(o, 'nn'))
families = {'procs': ('ensemble', procs_cases), 'block': ('ensemble', block_cases), 'ensemble': ('ensemble', model_cases), 'mlp': ('mlp', model_cases), 'ratings': ('implicit', ratings_cases), 'net': ('nn', net_cases)}


@pytest.fixture(scope='module')
def raws(tmp_path_factory): return {k: make(tmp_path_factory.mktemp(k)).export().read_bytes() for k,make in learners.items()}


@pytest.fixture(scope='module')
def box(tmp_path_factory, raws):
    f = Table(raws['ensemble'])
    more = [f.block(procs=[]), f.proc('Normalize', means={'age': 1e300, 'hours': 1.}, stds={'age': 1e-300, 'hours': 1.}), f(**model_of(f, arch='piecewise')), f(blocks=[*f.d['blocks'][:-1], {'part': 'vision.ImageBlock', 'args': {}}]), f(item_tfms=[{'part': 'vision.Resize', 'args': {'size': 8}}]), f(model={'part': 'nn.simple_cnn', 'args': {}}), f(model={'part': 'vision.model', 'args': f.d['model']['args']})]
    yield from warmed(tmp_path_factory.mktemp('home'), [*raws.values(), *more])


@needs_linux
@pytest.mark.parametrize('family', families)
def test_refused(family, raws, box, tmp_path):
    kind,cases = families[family]
    refuse_all(family, list(cases(Table(raws[kind]))), box, tmp_path)


@pytest.mark.parametrize('kind', learners)
def test_nothing_bad_is_refused_for_nothing(kind, raws, tmp_path):
    "NaN in the weights, pairs that repeat, categories that nobody has, other names: odd, but nothing that anyone is hurt by"
    f,item = Table(raws[kind]),row if kind in ('ensemble', 'mlp') else rated
    weights = load(f.blob)
    odd = [f(), f(item_tfms=[{'part': 'vision.Resize', 'args': {'size': 16}}]), f.weights(**{k: torch.full_like(v, float('nan')) for k,v in weights.items() if v.is_floating_point()}),
           f.weights(**{k: torch.full_like(v, float('inf')) for k,v in weights.items() if v.is_floating_point()}),
           f(**model_of(f, y_range=[-2**62, 1e300])) if kind!='mlp' and kind!='ensemble' else f.proc('Normalize', means={'age': 1e18, 'hours': 0}, stds={'age': 5e-324, 'hours': 1e308})]
    if kind=='implicit': odd.append(f.weights(by_user=torch.zeros_like(weights['by_user']), by_item=torch.full_like(weights['by_item'], 62)))
    for content in odd[:4] if kind in ('mlp', 'ensemble') else odd:
        (tmp_path/'model.mylib').write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            called,_,pred = load_learner(tmp_path/'model.mylib').predict(item)
        assert len(pred)==2-(item is rated) and str(called)


def test_large_tables_are_within_the_limits(tmp_path):
    "300 columns with gaps, which are 600 categories"
    import numpy as np, pandas as pd
    rng = np.random.default_rng(0)
    df = pd.DataFrame({**{f'n{i}': np.where(rng.random(60)<0.2, np.nan, rng.normal(size=60)) for i in range(300)}, **{f'c{i}': rng.choice(['a', 'b', 'c'], 60) for i in range(300)}, 'y': rng.normal(size=60)})
    dls = TabularDataLoaders.from_df(df, y_names='y', cat_names=[f'c{i}' for i in range(300)], cont_names=[f'n{i}' for i in range(300)], valid_pct=0.2, seed=1, device='cpu', path=tmp_path)
    learn = tabular_learner(dls, arch='mlp', layers=[4])
    again = load_learner(learn.export())
    assert torch.equal(again.predict(df.iloc[3])[2], learn.predict(df.iloc[3])[2])
