/** A small language for failovers: one command a line, `#` begins a comment, the world comes first. */
import { groupId } from '../../../src/model/ids.ts';
import { formatRecord, type OperationRecord } from '../../../src/model/records.ts';
import type { Log, LogFields } from '../../../src/ports/log.ts';
import type { TimingProfile } from '../../../src/model/cluster.ts';
import type { PeerMessage } from '../../../src/model/peer.ts';
import type { Violation } from '../checkers.ts';
import { calmStore } from '../faults.ts';
import type { Machine } from '../machine.ts';
import { keys } from '../spec.ts';
import { World } from '../world.ts';

export type ScenarioResult = {
  readonly trace: readonly string[];
  readonly violations: readonly Violation[];
};

type Command = (scene: Scene, ...words: string[]) => Promise<void> | void;

const BESIDE_THE_POINT: ReadonlySet<string> = new Set([
  'check.decided',
  'ipvs.found',
  'plan.applied',
  'vote.changed',
]);

/** How fine the trace sees who speaks. */
const LOOK_MS = 1;

export async function runScenario(script: string): Promise<ScenarioResult> {
  const lines = script.split('\n').map((line) => line.replace(/#.*/, '').trim());
  const [head = '', ...rest] = lines.filter((line) => line !== '');
  const scene = new Scene(head);
  try {
    for (const line of rest) {
      const [name = '', ...words] = line.split(/\s+/);
      const command = COMMANDS.get(name);
      if (command === undefined) throw new Error(`no such command: ${line}`);
      scene.say(`> ${line}`);
      try {
        await command(scene, ...words);
      } catch (error) {
        throw new Error(`${line}: ${String(error)}`, { cause: error });
      }
    }
    return { trace: scene.trace, violations: scene.world.violations };
  } finally {
    await scene.world.close();
  }
}

class Scene {
  readonly trace: string[] = [];
  readonly world: World;
  readonly #speaking = new Map<string, string>();

  constructor(head: string) {
    const [word, ...settings] = head.split(/\s+/);
    if (word !== 'world') throw new Error(`a script begins with its world, not with "${head}"`);
    const given = new Map(
      settings.map((one) => {
        const [name = '', value = ''] = one.split('=');
        return [name, value] as const;
      }),
    );
    this.world = new World({
      seed: Number(given.get('seed') ?? 1),
      directors: Number(given.get('directors') ?? 2),
      groups: Number(given.get('groups') ?? 1),
      profile: (given.get('profile') ?? 'default') as TimingProfile,
      hasFence: given.get('gate') !== 'address-lifetime',
      preempt: given.get('preempt') === 'immediate' ? 'immediate' : 'never',
      isolation: given.get('isolation') === 'gateway' ? 'gateway' : 'release',
      // Clocks and kernels are exact here: the chaos runs have the others.
      rateSpread: 0,
      expiryLagMs: 0,
      logOf: (director) => this.#logOf(director),
    });
    this.world.onConnect = (_, store) => calmStore(store);
    this.world.applySpec();
  }

  say(text: string): void {
    const seconds = (this.world.clock.now() / 1000).toFixed(3).padStart(8);
    this.trace.push(`${seconds}  ${text}`);
  }

  director(name = ''): Machine {
    const found = this.world.machines().find((one) => one.name === name);
    if (found === undefined) throw new Error(`no director ${name}`);
    return found;
  }

  some(name = ''): readonly Machine[] {
    return name === 'all' ? this.world.directors : [this.director(name)];
  }

  async advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= LOOK_MS) {
      await this.world.clock.advance(Math.min(LOOK_MS, left));
      this.#look();
    }
  }

  /** Who speaks for each group, told when it changes. */
  #look(): void {
    for (const group of this.world.groupNames()) {
      const now = this.world.holdersOf(group).join(' and ') || 'nobody';
      const before = this.#speaking.get(group) ?? 'nobody';
      if (now === before) continue;
      this.#speaking.set(group, now);
      this.say(`* ${group}: ${before} -> ${now}`);
    }
  }

  #logOf(director: string): Log {
    const at =
      (level: string) =>
      (fields: LogFields, event: string): void => {
        // What a killed process would have said is not heard, and health has its own tests.
        if (!this.director(director).isAlive || BESIDE_THE_POINT.has(event)) return;
        this.say(`${director}  ${event}${textOf(fields)}${level === 'info' ? '' : ` [${level}]`}`);
      };
    const log: Log = {
      error: at('error'),
      warn: at('warn'),
      info: at('info'),
      debug: () => {},
      child: () => log,
    };
    return log;
  }
}

/** The fields of an election notice as words; those of others as they are. */
function textOf(fields: LogFields): string {
  const { message, reason, epoch, ...others } = fields;
  const about = Object.entries(others).flatMap(([name, value]) => {
    if (value === null) return [];
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return name === 'group' || name === 'director' ? [text] : [`${name}=${text}`];
  });
  if (typeof epoch === 'number') about.push(`epoch ${epoch}`);
  if (typeof reason === 'string') about.push(`(${reason})`);
  const head = about.length === 0 ? '' : ` ${about.join(' ')}`;
  return typeof message === 'string' ? `${head}: ${message}` : head;
}

function parseMs(text = ''): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s)$/.exec(text);
  if (match === null) throw new Error('wants a time such as 250ms or 5s');
  return Number(match[1]) * (match[2] === 's' ? 1000 : 1);
}

function setCut(scene: Scene, isCut: boolean, from = '', to = ''): void {
  const { peers } = scene.world;
  const director = scene.director(from);
  if (to === 'etcd') {
    if (isCut) director.store?.cut();
    else director.store?.heal();
    return;
  }
  const other = scene.director(to);
  for (const [a, b] of [
    [director.id, other.id],
    [other.id, director.id],
  ] as const)
    if (isCut) peers.cut(a, b);
    else peers.heal(a, b);
}

function tellOperations(scene: Scene): void {
  for (const { key, value } of scene.world.cluster.entries(keys.operation(''))) {
    const record = JSON.parse(value) as OperationRecord;
    scene.say(`= ${keys.parse(key)?.kind ?? key} of ${record.group}: ${record.state}`);
    for (const { text } of record.steps) scene.say(`=   ${text}`);
  }
}

const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['start', (scene, who) => scene.some(who).forEach((one) => one.start())],
  ['crash', (scene, who) => scene.some(who).forEach((one) => one.crash())],
  ['reboot', (scene, who) => scene.some(who).forEach((one) => one.reboot())],
  ['stop', (scene, who) => scene.some(who).forEach((one) => one.stop())],
  ['freeze', (scene, who) => scene.some(who).forEach((one) => one.pause())],
  ['thaw', (scene, who) => scene.some(who).forEach((one) => one.resume())],
  ['advance', (scene, time) => scene.advance(parseMs(time))],
  ['cut', (scene, from, to) => setCut(scene, true, from, to)],
  ['heal', (scene, from, to) => setCut(scene, false, from, to)],
  ['halt-etcd', (scene) => scene.world.cluster.halt('lose')],
  ['refuse-etcd', (scene) => scene.world.cluster.halt('refuse')],
  ['resume-etcd', (scene) => scene.world.cluster.resume()],
  ['unplug', (scene, who) => scene.director(who).setCarrier(false)],
  ['plug', (scene, who) => scene.director(who).setCarrier(true)],
  ['lose-gateway', (scene, who) => scene.world.segment.setGateway(scene.director(who).name, false)],
  ['find-gateway', (scene, who) => scene.world.segment.setGateway(scene.director(who).name, true)],
  ['upgrade', (scene, who) => scene.director(who).stop('freeze')],
  ['clone', (scene, who) => scene.world.clone(scene.director(who)).start()],
  ['flush', (scene, who) => scene.director(who).flushRules()],
  ['recreate-link', (scene, who) => scene.director(who).recreateLink()],
  ['lose', (scene, kind) => void scene.world.lossOf.set(kind as PeerMessage['kind'], 1)],
  ['find', (scene, kind) => void scene.world.lossOf.delete(kind as PeerMessage['kind'])],
  ['switchover', (scene, group = '', to) => void scene.world.switchover(group, to ?? null)],
  [
    'drain',
    (scene, who) =>
      void scene.world.cluster.write(
        keys.drain(scene.director(who).id),
        formatRecord({ v: 1, by: 'operator', reason: 'scenario', at: '' }),
      ),
  ],
  ['undrain', (scene, who) => scene.world.cluster.remove(keys.drain(scene.director(who).id))],
  ['delete-owner', (scene, group = '') => scene.world.cluster.remove(keys.owner(groupId(group)))],
  ['operations', tellOperations],
]);
