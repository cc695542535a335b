// Puts a function in the place of one of Node's.

/**
 * Replaces `object[name]` by what `make` makes of it. What else hangs on the function stays, or `promisify` would not know it
 * any more. Does nothing where this Node has no such function.
 */
export function replace(object, name, make) {
  const original = object?.[name];
  if (typeof original !== "function") return;
  const made = make(original);
  for (const [key, property] of Object.entries(Object.getOwnPropertyDescriptors(original)).concat(
    Object.getOwnPropertySymbols(original).map((symbol) => [symbol, Object.getOwnPropertyDescriptor(original, symbol)]),
  )) {
    if (Object.getOwnPropertyDescriptor(made, key)?.configurable !== false) Object.defineProperty(made, key, property);
  }
  Object.defineProperty(object, name, { ...Object.getOwnPropertyDescriptor(object, name), value: made, writable: true, configurable: true });
}

/** Has `before(name, args, self)` be called before each of the functions. */
export function watch(object, names, before) {
  for (const name of names) {
    replace(object, name, (original) =>
      function (...args) {
        before(name, args, this);
        return Reflect.apply(original, this, args);
      });
  }
}
