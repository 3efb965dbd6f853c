"""The exported files as they are read: `python tools/fold.py [FOLDER]`, after `nbdev-export`

A notebook defines a class in one cell and adds methods with `@patch` in later ones, so that each method has its example. In the exported file the
methods stand inside the class: an editor, a type checker and `help` then see what a class can do, and the file reads well alone. The opening
paragraph of the notebook becomes the rest of the module's docstring. Nothing else is changed, and a folded file stays as it is.
"""
import ast, io, json, re, sys, textwrap, tokenize
from pathlib import Path

width = 118


def patch_call(f):
    "The decorator of `f` that is `@patch` or `@patch(...)`, or `None`"
    return next((d for d in f.decorator_list if ast.unparse(d).split('(')[0]=='patch'), None)


def patches(tree):
    "(function, name of its class) for each patched function at the top of a module"
    for f in tree.body:
        if isinstance(f, ast.FunctionDef) and patch_call(f): yield f, ast.unparse(f.args.args[0].annotation)


def names_bound(node):
    "The names that a statement at the top of a module defines"
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)): return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)): return {(a.asname or a.name).split('.')[0] for a in node.names}
    return {o.id for o in ast.walk(node) if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Store)}


def defined_later(tree, cls):
    "The names that are defined at the top of the module only when the body of `cls` has been run"
    before = {n for node in tree.body if node.lineno<cls.lineno for n in names_bound(node)}
    return {n for node in tree.body if node.lineno>=cls.lineno for n in names_bound(node)} - before


def names_read(node): return {o.id for o in ast.walk(node) if isinstance(o, ast.Name)}


def replacements(f, cls, later):
    "((line, column), (line, column), new text) for what must change in `f` when it moves into `cls`"
    def span(node): return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    first = f.args.args[0]
    yield *span(first), first.arg
    args = f.args.posonlyargs+f.args.args[1:]+f.args.kwonlyargs+[o for o in (f.args.vararg, f.args.kwarg) if o]
    for note in [*(a.annotation for a in args), f.returns]:
        if note is not None and names_read(note)&later and not isinstance(note, ast.Constant): yield *span(note), repr(ast.unparse(note).replace(' | ', '|'))
    for d in f.decorator_list:
        for o in ast.walk(d):
            if isinstance(o, ast.Attribute) and isinstance(o.value, ast.Name) and o.value.id==cls.name: yield *span(o), o.attr
    early = {n for o in [*f.decorator_list, *f.args.defaults, *filter(None, f.args.kw_defaults)] for n in names_read(o)} - {'patch', cls.name}
    if early&later:
        raise SystemExit(f"{cls.name}.{f.name}: its defaults or decorators use {sorted(early&later)}, which the module defines after the class. "
                         "Move the definition above the class.")


def string_lines(text):
    "The numbers of the lines that begin inside a string, which must stay as they are"
    found,start = set(),None
    for t in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[t.type]
        if kind=='FSTRING_START': start = t.start[0]
        elif kind=='FSTRING_END': found.update(range(start+1, t.end[0]+1))
        elif kind=='STRING': found.update(range(t.start[0]+1, t.end[0]+1))
    return found


def method(f, cls, later, lines, inside):
    "The lines of the patched function `f` as a method of `cls`"
    call,lines = patch_call(f),list(lines)
    for (a,i),(b,j),new in sorted(replacements(f, cls, later), reverse=True):
        assert a==b, f'{cls.name}.{f.name}: an annotation stands on several lines'
        lines[a-1] = lines[a-1].encode()[:i].decode() + new + lines[a-1].encode()[j:].decode()
    how = {k.arg for k in call.keywords} if isinstance(call, ast.Call) else set()
    lines[call.lineno-1] = '@property\n' if 'as_prop' in how else '@classmethod\n' if 'cls_method' in how else ''
    start = min(d.lineno for d in f.decorator_list)
    return [o if n in inside or not o.strip() else '    '+o for n,o in enumerate(lines[start-1:f.end_lineno], start) if o]


def fold(text):
    "The text of a module with its patched methods in their classes"
    tree,lines = ast.parse(text),text.splitlines(keepends=True)
    classes,found = {o.name: o for o in tree.body if isinstance(o, ast.ClassDef)},list(patches(tree))
    if not found: return text
    inside,gone,added = string_lines(text),set(),{}
    for f,name in found:
        cls = classes[name]
        own = method(f, cls, defined_later(tree, cls), lines, inside)
        said = added.setdefault(cls.end_lineno, [])
        if len(own)>2 or not said or len(said[-1])>2: own = ['\n', *own]
        said.append(own)
        gone.update(range(min(d.lineno for d in f.decorator_list), f.end_lineno+1))
    out = []
    for n,line in enumerate(lines, 1):
        if n not in gone: out.append(line)
        for own in added.get(n, ()): out.extend(own)
    return tidy(''.join(out))


def tidy(text):
    "Without the marks of cells that are empty now, and without the import of `patch` where nothing uses it"
    text = re.sub(r'(^# %% \S+ #\w+\n\s*)+(?=^# %%|\Z)', '', text, flags=re.M)
    if not re.search(r'@patch\b', text):
        text = re.sub(r'^from fastcore.basics import patch\n\n?', '', text, flags=re.M)
        text = re.sub(r'^(from fastcore.basics import .*?)(, patch\b|\bpatch, )', r'\1', text, flags=re.M)
    return re.sub(r'\n{3,}', '\n\n', text).rstrip('\n')+'\n'


def wrapped_names(text):
    "With the list of public names, which is exported in lines of any length, in lines that fit"
    def fill(m): return textwrap.fill(' '.join(m[0].split()), width, subsequent_indent=' '*11, break_on_hyphens=False)
    return re.sub(r"^__all__ = \[[^\]]*\]", fill, text, flags=re.M)


def opening(notebook):
    "The opening paragraph of a notebook: the first prose after its title and imports"
    for cell in json.loads(notebook.read_text(encoding='utf-8'))['cells'][1:]:
        text = ''.join(cell['source']).strip()
        if cell['cell_type']=='markdown' and text: return '' if text.startswith('#') else text.split('\n\n')[0]
    return ''


def with_opening(text, file):
    "The text of the module `file` with the opening paragraph of its notebook in its docstring"
    found = re.search(r'^# AUTOGENERATED.* File to edit: (\S+\.ipynb)\.', text, re.M)
    start = re.match(r'"""(.*?)\n\n(Docs: \S+)"""', text, re.S)
    if not found or not start: return text
    notebook = (file.parent/found[1]).resolve()
    if not notebook.exists(): raise SystemExit(f'the notebook {found[1]} is not there any more; delete the module')
    said = opening(notebook)
    if not said: return text
    said = textwrap.fill(said.replace('\\', '\\\\').replace('"""', "'''"), width, break_long_words=False, break_on_hyphens=False)
    return f'"""{start[1].split(chr(10))[0]}\n\n{said}\n\n{start[2]}"""{text[start.end():]}'


def main(argv=None):
    root = Path((argv or sys.argv[1:] or ['mylib'])[0])
    files = [o for o in sorted(root.rglob('*.py')) if o.name not in ('__init__.py', '_modidx.py')]
    for file in files:
        old = file.read_text(encoding='utf-8')
        try: new = wrapped_names(with_opening(fold(old), file))
        except SystemExit as e: raise SystemExit(f'{file}: {e}.') from None
        ast.parse(new)
        if new!=old: file.write_text(new, encoding='utf-8')
    return 0


if __name__=='__main__': sys.exit(main())
