"Tables: what a person does wrong, frames of other libraries, models that go on in another process, and fits that are taken up again"
import datetime, decimal, json, uuid, warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars
import pytest
import torch

import warm
from mylib.callback.checkpoint import Checkpoint
from mylib.callback.run import Watcher
from mylib.core.core import MylibWarning, UsageError, set_seed
from mylib.core.testing import synth_table
from mylib.data.block import CategoryBlock, MultiCategoryBlock, RegressionBlock
from mylib.deploy.load import load_learner
from mylib.tabular.collab import collab_learner
from mylib.tabular.data import TabularDataLoaders
from mylib.tabular.dates import add_datepart
from mylib.tabular.learner import tabular_learner
from mylib.tabular.parquet import ParquetDataLoaders
from mylib.tabular.procs import Categorify, FillMissing, Normalize
from mylib.tabular.processor import TabularProc
from mylib.tabular.ratings import CollabDataLoaders, synth_ratings
from mylib.tabular.table import TabularPandas

procs = [Categorify, FillMissing, Normalize]
columns = dict(cat_names=['job', 'city'], cont_names=['age', 'hours'], seed=1, device='cpu', bs=32)


def people(**kwargs): return synth_table(300).assign(**kwargs)
def loaders(df, y_names='rich', **kwargs): return TabularDataLoaders.from_df(df, y_names=y_names, **{**columns, **kwargs})
def quiet_fit(learn, n=1, **kwargs):
    with learn.no_bar(): learn.fit_one_cycle(n, 1e-2, **kwargs)
    return learn


def some(values, share=0.03): return np.where(np.arange(300)%int(1/share)==0, values, None)


def wrong_delimiter(df, path):
    df.to_csv(path/'people.csv', sep=';', index=False)
    TabularDataLoaders.from_csv(path/'people.csv', y_names='rich', **columns)


def ratings(**kwargs): return CollabDataLoaders.from_df(synth_ratings().assign(**kwargs), rating_name='rating', device='cpu')


def to_look_at(df, **kwargs):
    "Loaders that no model can be trained on, which a warning says"
    with pytest.warns(MylibWarning, match='can be looked at'): return loaders(df, **kwargs)


# What each gets: a frame that it must leave as it is, and a folder. The message names the column and says what to do.
mistakes = {
    'no such target': (lambda df, _p: loaders(df, 'rihc'), r"'rihc'.*Did you mean `rich`"),
    'a constant target': (lambda df, _p: to_look_at(df.assign(rich='yes')).check_trainable(), r"only one category, 'yes'"),
    'a constant number as target': (lambda df, _p: loaders(df.assign(income=1.), 'income'), r"'income' is 1 in all 240 training rows"),
    'a target full of gaps': (lambda df, _p: loaders(df.assign(income=np.nan), 'income'), r"'income' is missing in all 300 rows"),
    'a target with gaps': (lambda df, _p: loaders(df.assign(rich=df['rich'].where(df.index!=7)), 'rich'), r"'rich' is missing.* in 1 of 300 rows, first in row 7.*dropna"),
    'an infinite target': (lambda df, _p: loaders(df.assign(income=df['income'].where(df.index!=7, np.inf)), 'income'), r"'income' is missing \(or infinite\) in 1"),
    'the target among the inputs': (lambda df, _p: loaders(df, 'income', cont_names=['age', 'income']), r"'income' is among the inputs"),
    'a label that only validation has': (lambda df, _p: loaders(df.assign(rich=df['rich'].where(df.index!=299, 'maybe')), valid_idx=range(280, 300)), r"'rich' has the value 'maybe'.*in 1 rows"),
    'two classes as two targets': (lambda df, _p: loaders(df, ['rich', 'income']), r"not all numbers.*MultiCategoryBlock"),
    'text among the numbers': (lambda df, _p: loaders(df, cat_names=['job'], cont_names=['age', 'city']), r"'city' holds text \('\w+'\).*`cat_names`"),
    'dates among the numbers': (lambda df, _p: loaders(df, cont_names=['since']), r"'since' holds datetime64.*add_datepart"),
    'dates as text among the numbers': (lambda df, _p: loaders(df.assign(since=df['since'].astype(str)), cont_names=['since']), r"'since' holds text.*add_datepart"),
    'text that is no date': (lambda df, _p: add_datepart(df, 'city'), r"'city' has 300 values that are not dates"),
    'a column twice': (lambda df, _p: loaders(pd.concat([df, df[['age']]], axis=1)), r"more than one column named 'age'"),
    'a column in two roles': (lambda df, _p: loaders(df, cont_names=['age', 'job']), r"'job' stands twice"),
    'no validation rows': (lambda df, _p: to_look_at(df, valid_idx=[]).check_trainable(), r"validation set is empty"),
    'all rows for validation': (lambda df, _p: loaders(df, valid_idx=range(300)), r"training set is empty"),
    'no rows': (lambda df, _p: loaders(df.iloc[:0]), r"no rows"),
    'gaps and nothing that fills them': (lambda df, _p: loaders(df, procs=[Categorify]), r"'hours' has \d+ missing or infinite numbers.*FillMissing"),
    'text and nothing that codes it': (lambda df, _p: loaders(df, procs=[FillMissing]), r"'job' is a category.*Categorify"),
    'a number that is missing everywhere': (lambda df, _p: loaders(df.assign(hours=np.nan)), r"'hours' has no number in the training rows"),
    'a function as processor': (lambda df, _p: loaders(df, procs=[np.log1p]), r"no processor.*TabularProc"),
    'another separator': (wrong_delimiter, r"single column.*sep=';'"),
    'a path as table': (lambda df, _p: loaders('people.csv'), r"this is a str"),
    'columns that a new table lacks': (lambda df, _p: loaders(df).test_dl(df[['age', 'city', 'hours']]), r"\['job'\], which the table does not have"),
    'a column that a new row lacks': (lambda df, _p: tabular_learner(loaders(df)).predict(dict(age=3, city='Bonn', job='cook')), r"'hours'"),
    'an architecture that is none': (lambda df, _p: tabular_learner(loaders(df), arch='ensembel'), r"Did you mean `ensemble`"),
    'a setting that is none': (lambda df, _p: tabular_learner(loaders(df), config=dict(embed_q=0.1)), r"embed_p"),
    'fewer outputs than classes': (lambda df, _p: tabular_learner(loaders(df), n_out=1), r"`n_out` is 1, but the targets need 2"),
    'ratings outside the range': (lambda df, _p: collab_learner(ratings(), y_range=(0, 4)), r"outside `y_range`, \(0, 4\): they go from 1 to 5"),
    'ratings that are missing': (lambda df, _p: ratings(rating=np.nan), r"'rating' is missing in all"),
    'ratings that are text': (lambda df, _p: CollabDataLoaders.from_df(synth_ratings(), rating_name='title'), r"'title' are not numbers"),
    'no such column of users': (lambda df, _p: CollabDataLoaders.from_df(synth_ratings(), user_name='usr'), r"Did you mean `user`"),
}


@pytest.mark.parametrize('mistake', mistakes)
def test_a_mistake_is_answered_and_the_frame_left_alone(mistake, tmp_path):
    df = people()
    before = df.copy()
    f,pattern = mistakes[mistake]
    with pytest.raises(UsageError, match=f'(?s){pattern}') as e: f(df, tmp_path)
    assert len(str(e.value))<700 and str(e.value).rstrip().endswith(('.', '?', ')'))
    pd.testing.assert_frame_equal(df, before)


odd = {
    'as many categories as rows': (lambda df: loaders(df.assign(name=[f'n{i}' for i in range(300)]), cat_names=['name'], valid_idx=range(60)), r"'name' \(240 in 240\)"),
    'infinite inputs': (lambda df: loaders(df.assign(age=df['age'].astype(float).where(df.index>2, np.inf))), r"Infinite numbers, treated as missing: 'age' 3 of 300"),
    'zeros and ones as target': (lambda df: loaders(df.assign(won=(df['age']>40)*1), 'won'), r"'won' has 2 different whole numbers, from 0 to 1, and is taken for a number.*CategoryBlock"),
    'a city that training has not': (lambda df: loaders(df.assign(city=df['city'].where(df.index!=299, 'Rome')), valid_idx=[298, 299]), r"'city' 1 of 300, such as 'Rome'"),
    'the same rating twice': (lambda _df: CollabDataLoaders.from_df(pd.concat([synth_ratings()]*2), device='cpu', rating_name='rating', item_name='movie'), r"repeat a pair of 'user' and 'movie'"),
}


@pytest.mark.parametrize('what', odd)
def test_what_is_odd_is_counted_and_said_once(what):
    df = people()
    before = df.copy()
    f,pattern = odd[what]
    with pytest.warns(UserWarning, match=pattern) as said: f(df)
    assert all(o.filename==__file__ for o in said) and len(said)<=2
    pd.testing.assert_frame_equal(df, before)


def batches(dls): return [torch.cat([t.flatten().double() for t in b]) for dl in (dls.train, dls.valid) for b in dl.batches(0)]


def kinds_of_frames():
    df = people()
    yield 'repeated index', df.set_index(np.zeros(300, dtype=int))
    yield 'columns in another order', df[df.columns[::-1]]
    yield 'polars', polars.from_pandas(df)
    yield 'pyarrow', polars.from_pandas(df).to_arrow()
    yield 'pandas on arrow', df.convert_dtypes(dtype_backend='pyarrow')
    yield "pandas' own missing values", df.convert_dtypes()
    yield 'dict of columns', {n: df[n] for n in df}


@pytest.mark.parametrize('name,frame', list(kinds_of_frames()), ids=lambda o: o if isinstance(o, str) else '')
def test_frames_of_all_kinds_give_the_same_batches(name, frame):
    assert all(torch.equal(a, b) for a,b in zip(batches(loaders(people())), batches(loaders(frame)), strict=True)), name


def test_categories_of_polars_keep_their_order():
    df = people()
    own = list(reversed(sorted(df['city'].unique())))
    dls = loaders(polars.from_pandas(df).with_columns(polars.col('city').cast(polars.Enum(own))))
    assert dls.classes['city']==['#na#', *own]
    assert [dls.train_ds.item(i)['city'] for i in range(9)]==[loaders(df).train_ds.item(i)['city'] for i in range(9)]


def test_categories_of_all_kinds():
    df = people(size=pd.Categorical(some('L').tolist(), categories=['S', 'L']), flag=np.arange(300)%2==0, code=np.arange(300)%7, day=pd.Timestamp('2024-01-01')+pd.to_timedelta(np.arange(300)%3, unit='D'))
    dls = loaders(df, cat_names=['size', 'flag', 'code', 'day'], cont_names=[])
    assert dls.classes['flag']==['#na#', False, True] and dls.classes['code']==['#na#', *range(7)] and dls.classes['day'][1]==pd.Timestamp('2024-01-01')
    assert dls.train_ds.item(0)['code'] in range(7)


class Doubled(TabularProc):
    def encodes(self, to): to.conts = to.conts*2
    def decodes(self, to): to.conts = to.conts/2


def test_a_processor_of_ones_own_goes_with_the_model(tmp_path):
    df = people()
    learn = quiet_fit(tabular_learner(loaders(df, procs=[*procs, Doubled], path=tmp_path), arch='mlp'))
    with pytest.raises(TypeError, match='parts='): learn.export()
    own = learn.dls.procs[-1]
    again = load_learner(learn.export(parts={'doubled': own}), parts={'doubled': Doubled()})
    assert torch.equal(again.predict(df.iloc[3])[2], learn.predict(df.iloc[3])[2])


in_another_process = """
import json, sys, warnings
import pandas as pd
from mylib.deploy.load import load_learner
warnings.simplefilter('error')
learn = load_learner(sys.argv[1])
df = pd.read_csv(sys.argv[2])
preds,_ = learn.get_preds(dl=learn.dls.test_dl(df))
row,_,one = learn.predict(df.iloc[2])
print(json.dumps([preds.tolist(), one.tolist()]))
"""
targets = {'class': dict(y_names='rich'), 'number': dict(y_names='income'), 'numbers': dict(y_names=['income', 'old']), 'labels': dict(y_names=['busy', 'grey'], y_block=MultiCategoryBlock(encoded=True, vocab=['busy', 'grey']))}


@pytest.mark.parametrize('arch,target', [('ensemble', t) for t in targets]+[('mlp', 'class'), ('periodic', 'number'), ('piecewise', 'class'), ('robust', 'number')])
def test_a_model_goes_on_in_another_process(arch, target, tmp_path):
    df = people()
    df = df.assign(old=df['age']*2., busy=(df['hours']>38)*1, grey=(df['age']>50)*1)
    learn = quiet_fit(tabular_learner(loaders(df, path=tmp_path, **targets[target]), arch=arch))
    new = df.head(9)[['hours', 'age', 'city', 'job']]
    new.to_csv(tmp_path/'new.csv', index=False)
    out = warm.run(in_another_process, learn.export(), tmp_path/'new.csv', cwd=tmp_path)
    assert out.returncode==0, out.stderr
    preds,one = json.loads(out.stdout)
    with learn.no_bar(): mine,_ = learn.get_preds(dl=learn.dls.test_dl(new))
    assert torch.allclose(torch.tensor(preds), mine, atol=1e-6) and torch.allclose(torch.tensor(one), mine[2], atol=1e-5)


@pytest.mark.parametrize('arch', ['dot', 'nn', 'implicit'])
def test_ratings_go_on_from_a_file(arch, tmp_path):
    df = synth_ratings()
    dls = CollabDataLoaders.from_df(df, item_name='title', rating_name='rating', seed=1, device='cpu', path=tmp_path)
    learn = quiet_fit(collab_learner(dls, arch=arch, n_factors=8, y_range=(0, 5.5)))
    again = load_learner(learn.export())
    with learn.no_bar(), again.no_bar():
        assert torch.equal(again.get_preds(dl=again.dls.test_dl(df))[0], learn.get_preds(dl=dls.test_dl(df))[0])
    assert again.predict(dict(user=1, title=df['title'][0]))[2].shape==(1,)


class StopAt(Watcher):
    "Interrupts a fit after so many batches"
    def __init__(self, n): self.left = n
    def after_batch(self, run):
        self.left -= run.training
        if not self.left: raise KeyboardInterrupt


@pytest.mark.parametrize('arch', ['mlp', 'ensemble'])
def test_a_fit_is_taken_up_again_to_the_bit(arch, tmp_path):
    def learner():
        set_seed(3)
        return tabular_learner(loaders(people(), path=tmp_path), arch=arch)
    whole = quiet_fit(learner(), 3)
    with pytest.raises(KeyboardInterrupt): quiet_fit(learner(), 3, cbs=StopAt(11), checkpoint=Checkpoint('ckpt', every_steps=5))
    resumed = quiet_fit(learner(), 3, checkpoint='ckpt', resume=True)
    for a,b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True): assert torch.equal(a, b)


def test_looking_at_a_table_changes_nothing(capsys):
    learn = quiet_fit(tabular_learner(loaders(people())))
    def state(): return [*(t.clone() for t in learn.model.state_dict().values()), torch.get_rng_state()],[m.training for m in learn.model.modules()],str(np.random.get_state()),learn.dls.train.epoch
    learn.model.train()
    before = state()
    df = people()
    with learn.no_bar():
        learn.predict(df.iloc[0]); learn.get_preds(); learn.validate(); learn.show_results(); learn.dls.show_batch(); learn.summary()
        learn.get_preds(dl=learn.dls.test_dl(df))
    after = state()
    assert all(torch.equal(a, b) for a,b in zip(before[0], after[0])) and before[1:]==after[1:]


def test_a_table_without_categories_or_without_numbers():
    for kwargs in dict(cat_names=[]), dict(cont_names=[]):
        for arch in 'mlp', 'ensemble':
            learn = quiet_fit(tabular_learner(loaders(people(), **kwargs), arch=arch))
            assert learn.predict(people().iloc[0])[2].shape==(2,)


def heard(f):
    "What `f()` returns, and the texts of its warnings"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        return f(), [str(o.message) for o in said]


def test_an_unknown_value_is_said_at_each_call_whatever_was_said_before():
    df = people()
    learn = quiet_fit(tabular_learner(loaders(df.assign(city=df['city'].where(df.index!=299, 'Rome')), valid_idx=[298, 299]), arch='mlp'))
    row,text = dict(df.iloc[0], city='Rome'),"Values that the training rows do not have, encoded as '#na#': 'city' {} of {}, such as 'Rome'."
    for _ in range(3): assert heard(lambda: learn.predict(row))[1]==[text.format(1, 1)]
    assert heard(lambda: learn.dls.test_dl(df.assign(city=['Rome']*60+df['city'].tolist()[60:])))[1]==[text.format(60, 300)]
    assert heard(lambda: learn.predict(df.iloc[0]))[1]==[]


def test_ids_of_another_type_and_rows_of_which_nothing_is_known_are_refused(tmp_path):
    df = synth_ratings(2000, seed=1)[['user', 'movie', 'rating']]
    more = pd.DataFrame(dict(user=[900], movie=[901], rating=[3]))
    dls = heard(lambda: CollabDataLoaders.from_df(pd.concat([df, more], ignore_index=True), valid_idx=[0, 1, 2, len(df)], seed=1, device='cpu'))[0]
    learn = quiet_fit(collab_learner(dls, n_factors=4, y_range=(0.5, 5.5)))
    learn.export(tmp_path/'m.mylib')
    for l in learn, load_learner(tmp_path/'m.mylib'):
        for kind in str, lambda o: f'{o}.0':
            with pytest.raises(TypeError, match=r"'user' has '[\d.]+', which is text; in training it was a number, such as 1"): l.predict(dict(user=kind(5), movie=kind(7)))
            with pytest.raises(TypeError, match="which is text; in training it was a number"): l.dls.test_dl(df.head(20).map(kind))
        with pytest.raises(UsageError, match='None of the 5 rows has a category that training had'): l.dls.test_dl(df.head(5)+1000)
        answer,said = heard(lambda: l.predict(dict(user=1005, movie=1007)))
        assert len(said)==1 and "'user' 1 of 1, such as 1005; 'movie' 1 of 1" in said[0] and answer[0]['user']=='#na#'
        assert len(heard(lambda: l.get_preds(dl=l.dls.test_dl(df.head(5).assign(user=[1001, 2, 3, 4, 5]))))[1])==1


k = np.random.default_rng(0).integers(0, 4, 300)
def objects(*values): return pd.Series([values[i] for i in k], dtype=object)


kinds_of_categories = dict(
    bins=pd.cut(pd.Series(k*10.+1), [0, 10, 20, 30, 40]), quantiles=pd.qcut(pd.Series(np.random.default_rng(0).normal(size=300)), 4),
    months=pd.Series(pd.period_range('2020-01', periods=4, freq='M')[k]), zone=pd.Series(pd.date_range('2020-01-01', periods=4, tz='Europe/Berlin')[k]),
    stamps=pd.Series(pd.date_range('2020-01-01', periods=4)[k]), spans=pd.Series(pd.to_timedelta(k, unit='D')), dates=objects(*pd.date_range('2020-01-01', periods=4).date),
    times=objects(*map(datetime.time, range(4))), gaps=objects(True, None, False, True), whole=pd.Series([None if i==3 else int(i) for i in k], dtype='Int64'),
    infinite=pd.Series(np.where(k==3, np.inf, k*1.)), decimals=objects(*[decimal.Decimal(i)/3 for i in range(4)]), mixed=objects(1, '1', 2.5, None),
    ids=objects(*[uuid.UUID(int=i) for i in range(4)]), raw=objects(b'a', b'b', b'c', b''), unsigned=pd.Series(np.array([2**64-1-int(i) for i in k], dtype='uint64')),
    long=objects(*[str(i)*2500 for i in range(4)]), words=objects('nan', 'None', 'NA', ''), pairs=objects((1, 'a'), (1, 'b'), (2, 'a'), ()), paths=objects(*map(Path, 'abcd')))


def check_after_export(learn, df, path):
    "The same answers for all rows, and row by row, before and after the export"
    learn.export(path/'m.mylib')
    loaded = load_learner(path/'m.mylib')
    whole = [l.get_preds(dl=l.dls.test_dl(df))[0] for l in (learn, loaded)]
    rows = [torch.stack([l.predict(df.iloc[i])[2] for i in range(6)]) for l in (learn, loaded)]
    torch.testing.assert_close(whole[0], whole[1])
    for o in rows: torch.testing.assert_close(o, whole[0][:6], atol=1e-5, rtol=1e-5)
    return loaded


@pytest.mark.parametrize('kind', kinds_of_categories)
def test_categories_of_any_kind_predict_the_same_after_export(kind, tmp_path):
    df = pd.DataFrame(dict(n=np.arange(300.), c=kinds_of_categories[kind].array, y=np.where(k==0, 'yes', 'no')))
    set_seed(0)
    learn = quiet_fit(tabular_learner(loaders(df, 'y', cat_names=['c'], cont_names=['n']), arch='mlp'))
    loaded = check_after_export(learn, df, tmp_path)
    classes = [l.dls.blocks[0].classes['c'] for l in (learn, loaded)]
    assert classes[0]==classes[1] and len(classes[0])-1==df['c'].nunique()
    assert loaded.predict(df.iloc[0])[0]['c']==learn.predict(df.iloc[0])[0]['c']


@pytest.mark.parametrize('names', [('part', 'given'), ('given', 'part'), (0, 1), (np.int64(3), np.int64(4)), (pd.Timestamp('2020-01-01'), 'b'), (('a', 'x'), ('a', 'y')), ('', ' '), (1.5, 'age'), ('labels', 'y_pred')], ids=str)
def test_columns_of_any_name_predict_the_same_after_export(names, tmp_path):
    y = ('y', '') if isinstance(names[0], tuple) else 'y'
    df = pd.DataFrame({names[0]: np.arange(300.), names[1]: k.astype(str), y: np.where(k==0, 'yes', 'no')})
    df.iloc[5,0] = np.nan
    learn = quiet_fit(tabular_learner(loaders(df, y, cat_names=[names[1]], cont_names=[names[0]]), arch='mlp'))
    loaded = check_after_export(learn, df, tmp_path)
    assert loaded.dls.blocks[0].cont_names==[names[0]] and list(loaded.dls.blocks[0].classes)==[names[1]]
    with learn.no_bar(): learn.show_results(); learn.dls.show_batch()


def test_what_cannot_be_exported_is_refused_before_training():
    df = people()
    for values,fix in ((objects(*map(frozenset, 'abcd')), r"Convert it to text: df\['c'\].astype\(str\)"), (objects(1, True, 'x', 0), 'both 1 and True.*text')):
        with pytest.raises(UsageError, match=fix): loaders(df.assign(c=values), cat_names=['c'])
    with pytest.raises(UsageError, match='Name all columns'): loaders(df.rename(columns={'job': None}), cat_names=[None])


def test_names_that_are_taken_are_not_overwritten():
    df = people(hours_na='x')
    with pytest.raises(UsageError, match=r"adds a category 'hours_na', but the table has such a column"): loaders(df, cat_names=['job', 'hours_na'])
    labels = people(red=k>1, age=synth_table(300)['age'])
    to = TabularPandas(labels.assign(blue=k<2), procs, ['job'], ['age'], ['red', 'blue'], MultiCategoryBlock(True, vocab=['red', 'blue']), (range(240), range(240, 300)))
    assert to.dataset(0).conts[:,0].std()>0.5
    tags = people(tags=pd.Series([['age', 'x'][:i%3] for i in range(300)]))
    to = TabularPandas(tags, procs, ['job'], ['age'], 'tags', MultiCategoryBlock, (range(240), range(240, 300)))
    mean,std = tags['age'][:240].mean(),tags['age'][:240].std(ddof=0)
    np.testing.assert_allclose(to.dataset(0).conts[:,0], (tags['age'][:240]-mean)/std, atol=1e-5)


def test_a_target_of_whole_numbers_is_said_to_be_a_number_or_a_category():
    for y in np.array([0, 1, 2]*100), np.array([0., 1., 2.]*100), np.arange(300.):
        dls,said = heard(lambda: loaders(people(y=y), 'y'))
        assert repr(dls.blocks[-1])=='RegressionBlock' and sum('pass y_block=CategoryBlock()' in o for o in said)==1
    for block in CategoryBlock, RegressionBlock: assert not any('y_block' in o for o in heard(lambda: loaders(people(y=[0, 1, 2]*100), 'y', y_block=block))[1])


def test_numbers_with_decimal_commas_are_said_and_read(tmp_path):
    df = people(price=np.arange(300)+1000.25).drop(columns='since')
    df.to_csv(tmp_path/'p.csv', sep=';', decimal=',', index=False)
    dls,said = heard(lambda: TabularDataLoaders.from_csv(tmp_path/'p.csv', sep=';', y_names='rich', valid_idx=range(60), device='cpu'))
    assert 'price' in dls.cat_names and any("'price', such as '1000,25': read the file with decimal=','" in o for o in said)
    dls = TabularDataLoaders.from_csv(tmp_path/'p.csv', sep=';', decimal=',', y_names='rich', valid_idx=range(60), device='cpu', procs=[FillMissing, Categorify])
    assert 'price' in dls.cont_names
    np.testing.assert_allclose(dls.valid_ds.conts[:,dls.cont_names.index('price')], df['price'][:60])


def test_rows_named_by_their_labels_are_those_that_are_held_out():
    df = people().iloc[100:].sort_values('age') # labels 100..299 in another order; positions are 0..199
    held,want = df[df['job']=='cook'].index, df.loc[df['job']=='cook', 'age']
    for splits in dict(valid_idx=held), dict(valid_idx=np.flatnonzero(df['job']=='cook')):
        dls = TabularDataLoaders.from_df(df, cat_names=['city'], cont_names=['age'], y_names='rich', procs=[Categorify], device='cpu', **splits)
        assert sorted(dls.valid_ds.conts[:,0].tolist())==sorted(want)
    to = TabularPandas(df, [Categorify], ['city'], ['age'], 'rich', splits=(df.index.difference(held), held))
    assert sorted(to.valid.conts['age'])==sorted(want)
    with pytest.raises(IndexError, match='pass them as a pandas Index'): loaders(df, valid_idx=list(held))
    with pytest.raises(TypeError, match='np.flatnonzero'): loaders(df, valid_idx=df['job']=='cook')
    with pytest.raises(UsageError, match='reset_index'): loaders(pd.concat([df, df]), valid_idx=held)
    _,said = heard(lambda: loaders(df, valid_idx=list(range(100, 150))))
    assert sum('taken for positions' in o for o in said)==1


def test_a_dict_of_columns_is_a_table_and_a_dict_of_values_a_row():
    df = people()
    learn = quiet_fit(tabular_learner(loaders(df), arch='mlp'))
    for n in 1, 5: torch.testing.assert_close(learn.get_preds(dl=learn.dls.test_dl(df.head(n).to_dict('list')))[0], learn.get_preds(dl=learn.dls.test_dl(df.head(n)))[0])
    torch.testing.assert_close(learn.predict(df.iloc[0].to_dict())[2], learn.get_preds(dl=learn.dls.test_dl(df.head(1)))[0][0])
    with pytest.raises(UsageError, match=r'dls.test_dl\(table\)'): learn.predict(df.head(5).to_dict('list'))
    with pytest.raises(UsageError, match='different lengths'): learn.dls.test_dl(dict(df.head(2).to_dict('list'), age=[1, 2, 3]))


@pytest.mark.parametrize('order', ['%d/%m/%Y', '%m/%d/%Y', '%d.%m.%Y', '%d-%m-%Y %H:%M'])
def test_day_and_month_are_read_in_one_order(order):
    days = pd.Series(pd.date_range('2021-01-01', periods=300))
    parts,said = heard(lambda: add_datepart(pd.DataFrame(dict(saledate=days.dt.strftime(order))), 'saledate'))
    assert parts['saleMonth'].tolist()==days.dt.month.tolist() and parts['saleDay'].tolist()==days.dt.day.tolist() and not said


class Cubed(TabularProc):
    def encodes(self, to):
        for n in to.cont_names: to[n] = np.asarray(to[n], dtype=float)**3


def test_a_processor_that_is_not_known_is_said_when_loaders_are_made_and_can_be_handed_over(tmp_path):
    dls,said = heard(lambda: loaders(people(), procs=[FillMissing, Cubed, Categorify, Normalize]))
    at = next(k for k,f in enumerate(dls.procs) if isinstance(f, Cubed))
    assert len(said)==1 and f"learn.export(file, parts={{'mine': learn.dls.procs[{at}]}})" in said[0]
    learn = quiet_fit(tabular_learner(dls, arch='mlp'))
    learn.export(tmp_path/'m.mylib', parts={'mine': learn.dls.procs[at]})
    loaded = load_learner(tmp_path/'m.mylib', parts={'mine': Cubed()})
    torch.testing.assert_close(*(l.get_preds(dl=l.dls.test_dl(people()))[0] for l in (learn, loaded)))


def test_parquet_says_once_what_training_had_not(tmp_path):
    df = people()
    df.assign(city=df['city'].where(df.index<270, 'Rome')).to_parquet(tmp_path/'p.parquet', row_group_size=50)
    dls = ParquetDataLoaders.from_parquet(tmp_path/'p.parquet', cat_names=['job', 'city'], cont_names=['age'], y_names='rich', valid_idx=range(240, 300), device='cpu')
    _,said = heard(lambda: [list(dls.valid.batches(k)) for k in range(3)])
    assert said==["Values that the training rows do not have, encoded as '#na#': 'city' 30 of 60, such as 'Rome'."]


def test_a_million_rows_are_split_and_prepared_soon():
    n = 300_000
    df = pd.concat([people()]*(n//300), ignore_index=True)
    to = TabularPandas(df, procs, ['job', 'city'], ['age', 'hours'], 'rich', CategoryBlock, (range(n//5, n), range(n//5)))
    assert len(to.train.xs)==n*4//5 and to.items.memory_usage(deep=True).sum()<n*20
