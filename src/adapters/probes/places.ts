/** Numbers from 0 on for things that come and go, the freed ones first. */

export class Places<T> {
  readonly #things: (T | undefined)[] = [];
  readonly #free: number[] = [];

  take(thing: T): number {
    const place = this.#free.pop() ?? this.#things.length;
    this.#things[place] = thing;
    return place;
  }

  at(place: number): T | undefined {
    return this.#things[place];
  }

  /** It must have been taken. */
  give(place: number): void {
    this.#things[place] = undefined;
    this.#free.push(place);
  }
}
