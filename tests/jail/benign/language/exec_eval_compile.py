# uses: dynamic code, the syntax tree, the disassembler
# out: 3 [0, 1, 4] 7 True
import ast
import dis

scope = {}
exec("def add(a, b): return a + b", scope)
tree = ast.parse("a * b", mode="eval")
print(
    scope["add"](1, 2), eval("[n * n for n in range(3)]"),
    eval(compile(ast.fix_missing_locations(tree), "<demo>", "eval"), {"a": 7, "b": 1}),
    any(step.opname == "RETURN_VALUE" for step in dis.Bytecode(scope["add"])),
)
