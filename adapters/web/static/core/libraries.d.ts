// The types of what `render.js` uses of lit-html and signals, and what the page finds in its own document.

declare global {
  interface ParentNode {
    querySelectorAll<Of extends HTMLElement = HTMLElement>(selectors: string): NodeListOf<Of>;
    querySelector<Of extends HTMLElement = HTMLElement>(selectors: string): Of | null;
  }
  interface Element {
    closest<Of extends HTMLElement = HTMLElement>(selectors: string): Of | null;
  }
}

export interface TemplateResult {
  readonly strings: TemplateStringsArray;
  readonly values: unknown[];
}
type Template = (strings: TemplateStringsArray, ...values: unknown[]) => TemplateResult;
export const html: Template;
export const svg: Template;
export const nothing: symbol;
export const noChange: symbol;
export function render(value: unknown, container: HTMLElement | DocumentFragment): unknown;

export interface DirectiveResult {
  readonly values: unknown[];
}
export class AsyncDirective {
  isConnected: boolean;
  setValue(value: unknown): void;
  render(...values: unknown[]): unknown;
  update(part: unknown, values: unknown[]): unknown;
  protected disconnected(): void;
  protected reconnected(): void;
}
export function directive<Values extends unknown[]>(
  type: new (...parts: never[]) => { render(...values: Values): unknown },
): (...values: Values) => DirectiveResult;
export function ifDefined<Value>(value: Value): Value | symbol;
export function live(value: unknown): DirectiveResult;
export function ref<Of extends Element>(target: ((element?: Of) => void) | { readonly value?: Of }): DirectiveResult;
export function repeat<Item>(
  items: Iterable<Item>,
  key: (item: Item, index: number) => unknown,
  template: (item: Item, index: number) => unknown,
): DirectiveResult;

export interface ReadonlySignal<Value> {
  readonly value: Value;
  peek(): Value;
}
export interface Signal<Value> extends ReadonlySignal<Value> {
  value: Value;
}
export function signal<Value>(value: Value): Signal<Value>;
export function computed<Value>(compute: () => Value): ReadonlySignal<Value>;
export function effect(run: () => void | (() => void)): () => void;
export function batch<Value>(run: () => Value): Value;
export function untracked<Value>(run: () => Value): Value;
