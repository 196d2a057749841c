"""Planted functions with traps, by language: ¦ is the cursor, § the end of the function."""

CASES: dict[str, list[str]] = {
    "c": [
        "int f(int x) {¦\n    char c = '}';\n    return x; // }\n}§\n\nint g() {\n}",
        'int f(int x)¦\n{\n    puts("}\\"}");\n    /* } */ if (x) { return 1; }\n    return 0;\n}§\nint g() { }',
        "int a[] = { 1, 2 };\nstruct s { int x; };\n¦static int f(void) { struct s y = { 1 }; return y.x; }§\nint g() {}",
        "int f() {\n#ifdef A\n    if (a) {\n#else\n    if (b) {\n#endif\n        ¦x();\n    }\n    return 1;\n}§\n",
        "#define BEGIN {\nint f() {\n    for (int i = 0; i < 3; i++) {\n        ¦if (x) continue;\n    }\n}§\nvoid g(){}",
        "void f() {\n    list_for_each(x) {\n        ¦y(); }\n    z();\n}§\n",
        "void f(¦int a, int b)\n{\n    int c = '\\'' + '\"';\n}§\nvoid g() {}",
        'void f() { puts("a ¦} b"); }§ void g() { }',
        "void f() { /* a ¦} b */ }§ void g() { }",
        "struct point f(¦) { return (struct point){ 1, 2 }; }§ int x;",
    ],
    "objective-c": [
        '- (void)run:(int)x {¦\n    [self go:^{ NSLog(@"}"); }];\n}§\n- (void)stop {\n}',
        "@implementation A\n¦- (int)f { return 1; }§\n- (int)g { return 2; }\n@end",
    ],
    "c++": [
        'void f() {¦\n    auto s = R"x(}")})x";\n    char c = \'}\';\n    int n = 1\'000\'000;\n}§\nvoid g() {}',
        "A::A(int x) : a(x), b{x} {¦ if (a) { b = {}; } }§\nvoid g() {}",
        "A::A(int x) : a(x), b{x}, c{}¦ { go(); }§ void g() {}",
        "class A {\n  public:\n    ¦int f() const { return [this](int y) { return y; }(1); }§\n    int g() { return 2; }\n};",
        "int f() {\n    run([&](int x) {\n        ¦return x;\n    });\n    return 1;\n}§\nint g() {}",
        "template <typename T>\nT f(¦T x) noexcept { if constexpr (true) { return x; } }§\nint g;",
        "namespace a {\nint f() {\n    ¦return u8'}' + L'{' + 0xFF'FF;\n}§\n}",
        "auto f() -> std::map<int, int> {¦ return {{1, 2}}; }§ int g() {}",
        "bool operator==(const A& a, const A& b) {¦ return a.x == b.x; }§\n",
    ],
    "java": [
        'class A {\n    int f(int x) throws E {¦\n        String s = """\n            } " }\n            """;\n        return \'}\';\n    }§\n\n'
        "    int g() { }\n}",
        "class A {\n    void f() {\n        run(() -> {\n            ¦go();\n        });\n        new Thread() {\n            public void run() { }\n"
        "        };\n    }§\n    void g() {}\n}",
        "class A {\n    private final int x = 1;\n    ¦@Override\n    public int f() { return x; }§\n    int g() { return 1; }\n}",
        "class A {\n    int x;\n¦}§\nclass B { int f() { } }",
    ],
    "c#": [
        'class A {\n    int F(int x) {¦\n        var s = @"c:\\";\n        var t = $"{x} {{ {d["}"]}";\n        return s.Length;\n    }§\n'
        "    int G() { }\n}",
        "class A {\n    int F(int x) => ¦x + 1;§\n    int G() => 2;\n}",
        'class A {\n    int F() {\n        ¦var s = @"a""}";\n        #region }\n        foreach (var x in y) { }\n        return 1;\n    }§\n}',
        'void F() {¦ var s = """ } " """; var t = $"""{x}}""" + \'}\'; }§ void G() {}',
    ],
    "javascript": [
        "function f(a) {¦\n    return `x ${a.map((b) => { return `}${b}`; })} }`;\n}§\nfunction g() {}",
        "const f = (a) => {¦\n    return /[/}]{1,2}\\/}/.test(a) ? { b: 1 } : a / 2 / 3;\n};\n".replace("\n};", "\n}§;"),
        "function f() {\n    xs.forEach((x) => {\n        ¦go(x); // it's }\n    });\n    return 1;\n}§\nfunction g() {}",
        "class A {\n    constructor() { this.x = 1 }\n    ¦f(a = {}) {\n        if (a) { return }\n    }§\n    g() {}\n}",
        "function f() {\n    ¦return <p>don't {x && (\n        <a href='}'>it's</a>\n    )}</p>\n}§\nfunction g() {}",
        "function f(¦a, b) { return a }§\nfunction g() {}",
        "const f = (x) => ¦x + 1;§\nconst g = 2;",
        "const f = (x) => ¦x\n    + 1\n§const g = 2",
        "const o = {\n    f() {¦ return '}' },\n}".replace("'}' },", "'}' }§,"),
        "export default async function* f() {¦ for (const x of y) { yield x } }§\n",
        "x = 1\nconst s = 'a'\n¦function f() { return s }§\nfunction g() {}",
        "function f() {\n    const r = a /¦ b; // }\n    return r\n}§\n",
    ],
    "typescript": [
        "function f<T extends { a: number }>(x: T): { b: string } {¦\n    return { b: `${x.a}}` }\n}§\nfunction g() {}",
        "class A {\n    private f(x: number): Promise<void> {¦\n        type B = { c: '}' }\n        if (x) { }\n    }§\n    g() {}\n}",
        "export const f = async (x: number): Promise<number> => {¦ return x }§\nconst g = 1",
        "interface A { b: string }\n¦export function f(a: A) { return a.b }§\nfunction g() {}",
        "const C = () => {\n    return (¦<A b={{ c: 1 }} />)\n}§\nconst D = 1",
    ],
    "go": [
        "func f(x int) int {¦\n\tif x > 0 {\n\t\treturn '}'\n\t}\n\ts := `}\"`\n\treturn len(s) // }\n}§\n\nfunc g() {}",
        "func (a *A) f(x map[string]struct{}) (int, error) {¦\n\tgo func() { x() }()\n\treturn 0, nil\n}§\nfunc g() {}",
        "type A struct {\n\tx int\n}\n\n¦func f() { a := A{x: 1}; use(a) }§\nfunc g() {}",
        "func f() {\n\tfor _, x := range []int{1, 2} {\n\t\t¦use(x)\n\t}\n}§\nfunc g() {}",
    ],
    "rust": [
        "fn f<'a>(x: &'a str) -> char {¦\n    let s = r#\"}\"#;\n    let b = b'}';\n    /* } /* } */ } */\n    match x { _ => '}' }\n}§\n\nfn g() {}",
        "impl A {\n    pub fn f(&self) -> impl Fn() + '_ {¦\n        move || { self.x }\n    }§\n    fn g() {}\n}",
        "fn f<T>(x: T) -> T\nwhere\n    T: Copy,\n¦{ 'a: loop { break 'a; } x }§\nfn g() {}",
        "fn f() -> A {\n    if let Some(x) = y {\n        ¦A { x }\n    } else { A { x: 1 } }\n}§\nfn g() {}",
        "macro_rules! m { () => { } }\nstruct A { x: u8 }\n¦fn f() { m!{} }§\nfn g() {}",
    ],
    "kotlin": [
        'fun f(x: Int): Int {¦\n    val s = """ } ${ if (x > 0) "}" else "{" } """\n    return x.let { it + 1 }\n}§\nfun g() {}',
        "class A {\n    fun f(x: Int) = ¦x *\n        2\n\n§    fun g() = 1\n}",
        "fun f() {\n    xs.forEach {\n        ¦println('}')\n    }\n}§\nfun g() {}",
        "class A(val x: Int) {\n    ¦override fun f(): Int { return when (x) { 1 -> 2 else -> 3 } }§\n    fun g() {}\n}",
    ],
    "scala": [
        'def f(x: Int): Int = {¦\n  val s = s"${x + { 1 }} }"\n  x match { case 1 => \'}\' case _ => 2 }\n}§\ndef g = 1',
        "object A {\n  def f(x: Int) = ¦x + 1\n\n§  def g = 2\n}",
        'object A {\n  ¦def f(x: Int): String = { """}""" }§\n  def g = 2\n}',
        "class A {\n  def f(): Unit = {\n    xs.foreach { x =>\n      ¦go(x)\n    }\n  }§\n}",
    ],
    "swift": [
        'func f(_ x: Int) -> Int {¦\n    let s = "\\(g("}")) }"\n    let r = #"}"}"#\n    guard x > 0 else { return 1 }\n    return 2\n}§\nfunc g() {}',
        "struct A {\n    var x: Int { 1 }\n    ¦init(x: Int) { self.x = x }§\n    func g() {}\n}",
        'func f() {\n    let s = """\n    } " }\n    ""¦"\n    run { x in x }\n}§\nfunc g() {}',
        "func f<T>(x: T) -> T\n    where T: A {¦ return x }§\nfunc g() {}",
    ],
    "dart": [
        "int f(int x) {¦\n  var s = '${ {1: '}'} } }';\n  var r = r'\\';\n  xs.map((y) { return y; });\n  return 1;\n}§\nint g() {}",
        "int f(int x) => ¦x + 1;§\nint g() => 2;",
        "class A extends B {\n  ¦@override\n  Widget build(BuildContext c) { return Text('}'); }§\n  int g() {}\n}",
    ],
    "groovy": [
        "def f(x) {¦\n    xs.each { println \"${it} }\" }\n    return '}'\n}§\ndef g() {}",
        "class A {\n    ¦int f() { return 1 }§\n    int g() { return 2 }\n}",
    ],
    "php": [
        '<?php\nfunction f($x) {¦\n    $s = "}{$x[\'}\']}";\n    # }\n    $t = <<<EOT\n    } EOTX\n    EOT;\n    return $s;\n}§\nfunction g() {}',
        "<p>{ it's</p>\n<?php\nfunction f($x) {¦ ?>\n<b>}'</b>\n<?php if ($x) { ?> } <?php } // ?>\n<?php }§ ?>",
        "<?php\nclass A {\n    #[Attr('}')]\n    ¦public function f(): array { return array_map(function ($x) { return $x; }, []); }§\n    function g() {}\n}",
        "function f($x) {¦ return '}'; }§ function g() {}",
    ],
    "perl": [
        'sub f {¦\n    my ($x) = @_;\n    my $n = $#{$x};\n    my %h = (a => "}");\n    # }\n    return $x =~ /\\}}/ ? 1 : 2;\n}§\nsub g {}',
        "sub f {¦\n    print <<\"EOT\";\n}\nEOT\n    return map { $_ + 1 } @x;\n}§\nsub g {}",
        "use strict;\n¦sub f { my $s = q{ {} }; $s =~ s/}/{/g; $h{y}; return m{\\}}x; }§\nsub g {}",
        "sub f {¦\n    return 1;\n\n=pod\n\n}\n\n=cut\n\n}§\n",
    ],
    "r": [
        "f <- function(x) {¦\n  if (x > 0) { return('}') } # }\n  s <- r\"(})\"\n  sapply(x, function(y) { y })\n}§\ng <- 1",
        "f <- function(x) ¦x + 1\n§g <- 2",
        "x <- 1\n¦f <- function(a, b = c(1)) { `}` <- a }§\n",
    ],
    "zig": [
        "pub fn f(x: u8) u8 {¦\n    const s =\n        \\\\ }\n    ;\n    if (x > 0) { return '}'; } // }\n    return s;\n}§\nfn g() void {}",
    ],
    "shell": [
        'f() {¦\n    case "$1" in\n        a) echo "}" ;;\n        b | c) echo ${x:-\\}} ;;\n    esac\n    for x in "$@"; do echo done; done # }\n}§\ng() { :; }',
        "f() {\n    cat <<EOF¦\n}\n it's\nEOF\n    if [ -n \"$(g \"}\")\" ]; then echo fi; fi\n    echo $# ${#x} $((1 << 2))\n}§\nf\n",
        "function f {¦ local x='}'; [[ $x == \\} ]] && echo hi; }§\nf",
        "set -e\n¦f () { while read -r x; do g; done; }§\nh() { :; }",
        "if [ -f x ]; then\n    ¦echo fi\nfi§\nf() { :; }",
    ],
    "ruby": [
        'def f(x)¦\n  y = 1 if x\n  return "end #{x ? "end" : { a: 1 }}" unless y # end\n  while y do y = nil end\n  z = if y then 1 else 2 end\n'
        "  xs.each do |e|\n    e.end\n  end\n  y\nend§\n\ndef g\nend",
        "class A\n  ¦def f = 1\n\n  def g(x)\n    [x].map { |y| y }\n  end§\n\n  def h\n  end\nend",
        "def f; if x; 1; end¦; end§\ndef g; end",
        "def f\n  s = <<~EOS¦\n    end\n  EOS\n  s << x\n  begin\n    go\n  rescue E\n    1\n  end until y\nend§\n",
        "module A\n  class << self\n    def f(x)\n      ¦x =~ /end \\/ if/ ? :end : { if: 1 }\n    end§\n  end\nend",
        "def f(x) = ¦x + 1\n\n§def g\nend",
        "def f\n  puts [1].sum do |x| x end¦\n  case x\n  when 1 then %w[end]\n  end\nend§\n=begin\nend\n=end\n",
    ],
    "lua": [
        'local function f(x)¦\n  local s = [==[ end ]] ]==] -- end\n  if x then return "end" elseif y then z() end\n  while x do break end\n'
        "  repeat x = 1 until x\n  return function() return 1 end\nend§\n\nlocal g = 1",
        "function M.f(a)\n  --[[ end\n  ]]\n  for i = 1, 3 do\n    ¦print(i)\n  end\nend§\nreturn M",
        "local x = 1\n¦function f() do end end§\nfunction g() end",
        "function f()\n  run(function()\n    ¦go()\n  end)\nend§\n",
    ],
    "julia": [
        'function f(x)¦\n    y = x[end] # end\n    z = [i for i in 1:3 if i > 1]\n    #= end #= end =# end =#\n    s = "end $(if x; 1 end) end"\n'
        "    for i in x\n        i == 'e' && return x'\n    end\n    map(x) do v\n        v\n    end\nend§\n\ng() = 1",
        "f(x) = ¦x + 1\n\n§g(x) = 2",
        'module A\nabstract type T end\n¦"""end"""\nfunction f(x)\n    if x\n        :end\n    end\nend§\nend',
    ],
    "elixir": [
        'defmodule A do\n  def f(x) do¦\n    y = if x, do: 1, else: 2\n    Enum.map([y], fn z -> "end #{z}" end) # end\n    case y do\n      1 -> :end\n'
        "    end\n  end§\n\n  def g, do: 1\nend",
        "defmodule A do\n  def f(x), do: ¦x + 1\n\n§  def g, do: 2\nend",
        'defmodule A do\n  ¦@doc """\n  end\n  """\n  defp f(x) when x > 1 do\n    x\n  end§\n  def g, do: 1\nend',
    ],
    "python": [
        'def f(x):¦\n    """Doc\nnot indented: def\n"""\n    y = [\n1,\n]\n    def g():\n        return 1\n\n    return y\n\n\n§def h():\n    pass',
        "class A:\n    def f(self):\n        for x in y:\n            ¦go(x)\n        return 1\n\n§    def g(self):\n        pass",
        "class A:\n    x = 1\n\n    ¦def f(self): return 1\n§    def g(self): return 2",
        "async def f(¦\n    x,\n):\n    return x\n§print(f)",
        "def f():\n# a note\n    ¦return '\\\n'\n\n§# the next\n",
        "if x:\n    ¦y()\n§z()\n",
        "def f(): ¦return 1\n§def g(): return 2\n",
    ],
}
