"""The house rules on imports: `python tools/layers.py [ROOT]`

- An import goes to an earlier room, or to a smaller number in its own room.
- Faces (`mylib.<room>.all` and those listed in FACES) may import everything; nothing imports them.
- Only faces import a star from the package, and no private name (`_name`) leaves its module.
- Notebooks of `course` and `guides` export nothing.
"""
import ast, json, re, sys
from pathlib import Path

ROOMS = ['core'], ['nn', 'train'], ['data'], ['callback'], ['learner'], ['interpret'], ['vision', 'text', 'tabular'], ['deploy', 'extra'], ['compat']
RANK = {room: i for i,rooms in enumerate(ROOMS) for room in rooms}
FACES = {'mylib.vision.widgets', 'mylib.collab'}
SILENT = 'course', 'guides'


def is_face(module): return module in FACES or module.endswith('.all')


def code_cells(path):
    "The sources of a notebook's code cells"
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    return [''.join(c['source']) for c in cells if c['cell_type']=='code']


def notebook_numbers(root):
    "Module name to (room, number), from the notebooks' `default_exp` and file names"
    found = {}
    for path in sorted((root/'nbs').rglob('*.ipynb')):
        name = re.search(r'^#\|\s*default_exp\s+(\S+)', '\n'.join(code_cells(path)), re.M)
        number = re.match(r'(\d+)', path.name)
        if name and number: found[f'mylib.{name[1]}'] = path.parent.name, int(number[1])
    return found


def module_name(path, root):
    parts = path.relative_to(root).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1]=='__init__' else parts)


def modules(root):
    "Module name to path, without what nbdev writes for itself"
    paths = [p for p in sorted((root/'mylib').rglob('*.py')) if p.name not in ('__init__.py', '_modidx.py')]
    return {module_name(p, root): p for p in paths}


def imports(tree, module, known):
    "(line, imported module of ours, imported name or None) of every import in a syntax tree"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for a in node.names:
                if a.name.split('.')[0]=='mylib': yield node.lineno, a.name, None
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level: base = '.'.join(module.split('.')[:-node.level] + ([base] if base else []))
            if base.split('.')[0]!='mylib': continue
            for a in node.names:
                if f'{base}.{a.name}' in known: yield node.lineno, f'{base}.{a.name}', None
                else: yield node.lineno, base, a.name


def private_uses(tree, module, known):
    "(line, module, name) where a private attribute of an imported module of ours is used"
    aliases = {}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)): continue
        for a in node.names:
            found = [m for _,m,name in imports(ast.Module(body=[node], type_ignores=[]), module, known) if name is None and m.endswith(a.name)]
            if found: aliases[a.asname or a.name] = found[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in aliases:
            yield node.lineno, aliases[ast.unparse(node.value)], node.attr


def is_private(name): return name.startswith('_') and not name.endswith('__')


def direction(module, target, numbers):
    "What is wrong with `module` importing `target`, or `None`"
    if is_face(target): return f'imports {target}, which is a face: nothing imports faces; import the module that defines the name'
    (room,number),(other,other_number) = numbers[module],numbers[target]
    if room==other: return None if other_number<number else f'imports {target}, whose notebook is not earlier ({other_number:02} is not below {number:02})'
    if RANK[other]<RANK[room]: return None
    if RANK[other]==RANK[room]: return f'imports {target}, but {room} and {other} stand beside each other'
    return f'imports {target}, but {other} is a later room than {room}'


def check_module(module, path, numbers, known):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for line,target,name in imports(tree, module, known):
        if name=='*' and not is_face(module): yield line, f'imports * from {target}; name what you need'
        elif name and name!='*' and is_private(name): yield line, f'imports the private {name} of {target}; make it public or move it'
        if is_face(module) or target not in known: continue
        wrong = direction(module, target, numbers)
        if wrong: yield line, wrong
    for line,target,name in private_uses(tree, module, known): yield line, f'uses the private {name} of {target}; make it public or move it'


def check(root):
    "All breaches below `root`, as lines of text"
    known,numbers = modules(root),notebook_numbers(root)
    for module,path in known.items():
        where = path.relative_to(root).as_posix()
        if is_face(module): pass
        elif module not in numbers: yield f'{where}:1: no numbered notebook exports {module}'; continue
        elif numbers[module][0] not in RANK: yield f'{where}:1: {numbers[module][0]} is not a room; the rooms are {", ".join(RANK)}'; continue
        yield from (f'{where}:{line}: {module} {text}' for line,text in check_module(module, path, numbers, known))
    for path in sorted(p for o in SILENT for p in (root/'nbs'/o).rglob('*.ipynb')):
        if re.search(r'^#\|\s*(export|exporti|exports|default_exp)\b', '\n'.join(code_cells(path)), re.M):
            yield f'{path.relative_to(root).as_posix()}:1: exports code, but {path.parent.name} only shows how to use it; move the code to a room'


def main(argv=None):
    root = Path((argv or sys.argv[1:] or ['.'])[0]).resolve()
    found = list(check(root))
    print('\n'.join(found) or f'layers: {len(modules(root))} modules, every import goes down')
    return 1 if found else 0


if __name__=='__main__': sys.exit(main())
