/**
 * A map that shares its entries with the one it began from until the first write: a working copy that
 * costs nothing where nothing changes. An iteration under way goes on over what was there before.
 */
export class LazyMap<K, V> implements Map<K, V> {
  readonly [Symbol.toStringTag] = 'LazyMap';
  #entries: ReadonlyMap<K, V>;
  #own: Map<K, V> | null = null;

  constructor(entries: ReadonlyMap<K, V>) {
    this.#entries = entries;
  }

  /** The entries as they are now; the very map it began from, where nothing was written. */
  get value(): ReadonlyMap<K, V> {
    return this.#entries;
  }
  /** Something was set or deleted: it shares its entries no longer. */
  get isWritten(): boolean {
    return this.#own !== null;
  }
  get size(): number {
    return this.#entries.size;
  }
  get(key: K): V | undefined {
    return this.#entries.get(key);
  }
  has(key: K): boolean {
    return this.#entries.has(key);
  }
  set(key: K, value: V): this {
    this.#write().set(key, value);
    return this;
  }
  delete(key: K): boolean {
    return this.#entries.has(key) && this.#write().delete(key);
  }
  clear(): void {
    if (this.size > 0) this.#write().clear();
  }
  forEach(call: (value: V, key: K, map: Map<K, V>) => void): void {
    for (const [key, value] of this.#entries) call(value, key, this);
  }
  keys(): MapIterator<K> {
    return this.#entries.keys();
  }
  values(): MapIterator<V> {
    return this.#entries.values();
  }
  entries(): MapIterator<[K, V]> {
    return this.#entries.entries();
  }
  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.#entries[Symbol.iterator]();
  }

  #write(): Map<K, V> {
    if (this.#own === null) {
      this.#own = new Map(this.#entries);
      this.#entries = this.#own;
    }
    return this.#own;
  }
}
