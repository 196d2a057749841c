"""Small files in many languages, and what tells each: an ending, a whole name, a `#!` line or its text."""

from pathlib import Path
from typing import NamedTuple


class Planted(NamedTuple):
    path: str
    language: str
    text: str


C_HEADER = """/* A queue.  class Queue { in C++ */
#ifndef QUEUE_H
#define QUEUE_H
#include <stddef.h>
struct queue { size_t length; unsigned full : 1; };
#ifdef __cplusplus
extern "C" {
#endif
int queue_push(struct queue *queue, const char *value);
#ifdef __cplusplus
}
#endif
#endif
"""
CPP_HEADER = """#pragma once
#include <string>
namespace queues {
template <typename Value>
class Queue : public Base {
 public:
  explicit Queue(std::string name);
 private:
  std::string name_;
};
}  // namespace queues
"""
OBJECTIVE_C_HEADER = """#import <Foundation/Foundation.h>
@interface Queue : NSObject
@property (nonatomic, copy) NSString *name;
- (void)push:(id)value;
@end
"""
OBJECTIVE_C = """#import "Queue.h"
@implementation Queue
- (void)push:(id)value {
    [self.values addObject:value];
}
@end
"""
MATLAB = """function total = add_all(values)
% ADD_ALL  Sum of all values.
  total = 0;
  for index = 1:numel(values)
    total = total + values(index);
  end
end
"""
PERL = """package Queue;
use strict;
use warnings;
sub push_all {
    my ($self, @values) = @_;
    push @{$self->{values}}, @values;
    return $self;
}
1;
"""
PROLOG = """:- module(queue, [push/3]).
% push(+Value, +Old, -New)
push(Value, Old, New) :-
    append(Old, [Value], New).
empty([]).
"""
VERILOG = """`timescale 1ns / 1ps
module counter (input wire clock, output reg [7:0] count);
  always @(posedge clock) count <= count + 1;
endmodule
"""
COQ = """Require Import Arith.
Lemma plus_zero : forall n, n + 0 = n.
Proof.
  intros n. auto.
Qed.
"""
TRANSLATION = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de"><context><name>Main</name></context></TS>
"""
TYPESCRIPT = """import { Base } from './base';
export interface Options { readonly name: string; size?: number }
export class Queue<Value> extends Base {
  private values: Value[] = [];
  push(value: Value): void { this.values.push(value); }
}
"""
LATEX_CLASS = "\\NeedsTeXFormat{LaTeX2e}\n\\ProvidesClass{report}\n\\LoadClass{article}\n"
PASCAL = "unit Queues;\ninterface\nuses SysUtils;\nprocedure Push(Value: Integer);\nimplementation\nend.\n"
PUPPET = "class queue::server (String $name) {\n  include queue\n  package { 'queue':\n    ensure => installed,\n  }\n}\n"
PYTHON = """import os
from pathlib import Path

class Queue:
    def push(self, value):
        if value is None:
            raise ValueError("no value")
        self.values.append(value)
        return self
"""
SHELL = """set -e
for file in *.txt; do
  if [ -f "$file" ]; then
    echo "$file"
  fi
done
"""

PLANTED = (
    Planted("queue.h", "c", C_HEADER),
    Planted("queue_cpp/queue.h", "c++", CPP_HEADER),
    Planted("QueueObjc.h", "objective-c", OBJECTIVE_C_HEADER),
    Planted("queue.c", "c", '#include "queue.h"\nint main(void) { return 0; }\n'),
    Planted("queue.cpp", "c++", "int main() { return 0; }\n"),
    Planted("Queue.m", "objective-c", OBJECTIVE_C),
    Planted("add_all.m", "matlab", MATLAB),
    Planted("lib/Queue.pm", "perl", PERL),
    Planted("queue.pl", "perl", PERL),
    Planted("logic/queue.pl", "prolog", PROLOG),
    Planted("t/queue.t", "perl", "use Test::More;\nok(1);\n"),
    Planted("counter.v", "verilog", VERILOG),
    Planted("Zero.v", "coq", COQ),
    Planted("main_de.ts", "xml", TRANSLATION),
    Planted("queue.ts", "typescript", TYPESCRIPT),
    Planted("view.tsx", "typescript", "export const View = () => <p>queue</p>;\n"),
    Planted("report.cls", "tex", LATEX_CLASS),
    Planted("queues.pp", "pascal", PASCAL),
    Planted("manifests/init.pp", "puppet", PUPPET),
    Planted("queue.py", "python", PYTHON),
    Planted("bin/run", "python", "#!/usr/bin/env python3.11\nprint('a')\n"),
    Planted("bin/start", "shell", "#!/bin/sh -e\n" + SHELL),
    Planted("bin/window", "tcl", '#!/bin/sh\n# the next line restarts \\\nexec tclsh "$0" "$@"\n'),
    Planted("bin/serve", "javascript", "#!/usr/bin/env -S node --harmony\nconsole.log(1)\n"),
    Planted("completions/queue", "shell", "# queue(1) completion   -*- shell-script -*-\ncomplete -F _queue queue\n"),
    Planted("include/vector", "c++", "// <vector> -*- C++ -*-\n#define X\n"),
    Planted("settings/rc", "lua", "x = 1\n-- vim: set ft=lua:\n"),
    Planted("Makefile", "makefile", "all: a.o\n"),
    Planted("Dockerfile.test", "dockerfile", "FROM debian\n"),
    Planted("CMakeLists.txt", "cmake", "project(queue)\n"),
    Planted("Rakefile", "ruby", "task :test\n"),
    Planted("queue.js", "javascript", "module.exports = 1;\n"),
    Planted("Queue.java", "java", "package queue;\nclass Queue {}\n"),
    Planted("Queue.cs", "c#", "namespace Queue { class A {} }\n"),
    Planted("queue.go", "go", "package queue\n"),
    Planted("queue.rs", "rust", "fn main() {}\n"),
    Planted("queue.rb", "ruby", "class Queue; end\n"),
    Planted("queue.php", "php", "<?php echo 1;\n"),
    Planted("Queue.scala", "scala", "object Queue\n"),
    Planted("Queue.kt", "kotlin", "fun main() {}\n"),
    Planted("Queue.swift", "swift", "let a = 1\n"),
    Planted("Queue.hs", "haskell", "module Queue where\n"),
    Planted("queue.R", "r", "x <- 1\n"),
    Planted("queue.sql", "sql", "SELECT 1;\n"),
    Planted("queue.css", "css", "a { color: red; }\n"),
    Planted("index.html", "html", "<html></html>\n"),
    Planted("queue.json", "json", '{"name": "queue"}\n'),
    Planted("queue.yaml", "yaml", "a: 1\n"),
)


def write(root: Path) -> Path:
    """Write the files into a repository below a folder, three of them in a second one."""
    for each in PLANTED:
        file = root / ("second" if each.path in ("queue.js", "queue.go", "queue.css") else "first") / each.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(each.text, encoding="utf-8")
    return root
