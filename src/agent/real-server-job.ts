/**
 * `leasehold realserver`: looks at the machine, notes what it will change, changes it, looks again. Needs neither
 * etcd nor an agent. Level-triggered: whatever a former run left half done, the same command completes.
 */
import { deriveNeeds, FOU_MODULE, type Need } from '../core/realserver/needs.ts';
import {
  planTakeDown,
  rememberStep,
  rememberVips,
  type TakeDown,
} from '../core/realserver/saved.ts';
import {
  describeSetup,
  familyName,
  isSameSetup,
  prefixOf,
  resolveWish,
  settingName,
  settingsOf,
} from '../core/realserver/words.ts';
import { err, ok, type Result } from '../lib/result.ts';
import type { IpAddress } from '../model/address.ts';
import type {
  AskedVip,
  HostFacts,
  HostStep,
  RealServerAnswer,
  RealServerLine,
  RealServerRequest,
  SavedHost,
  VipSetup,
  VipWish,
} from '../model/real-server-host.ts';
import type { RealServerHost, SavedHostStore } from '../ports/real-server-host.ts';

export type RealServerPorts = { readonly host: RealServerHost; readonly store: SavedHostStore };

/** A device that comes, then what is on it: three looks; the rest is for kernels that are slow to tell. */
const PASSES = 6;

/** The error is a sentence: nothing could be looked at. */
export async function runRealServer(
  request: RealServerRequest,
  ports: RealServerPorts,
): Promise<Result<RealServerAnswer, string>> {
  if (request.verb === 'status') return showStatus(request.asked, ports);
  const lock = await ports.store.lock();
  if (!lock.ok) return lock;
  try {
    return request.verb === 'up'
      ? await bringUp(request.wishes.map(resolveWish), ports)
      : await takeDown(request.asked, ports);
  } finally {
    lock.value.release();
  }
}

type Look = { readonly facts: HostFacts; readonly saved: SavedHost };

async function look({ host, store }: RealServerPorts): Promise<Result<Look, string>> {
  const saved = await store.load();
  if (!saved.ok) return saved;
  const facts = await host.observe(settingsOf);
  return facts.ok ? ok({ facts: facts.value, saved: saved.value }) : err(facts.error.message);
}

async function showStatus(
  asked: readonly AskedVip[] | null,
  ports: RealServerPorts,
): Promise<Result<RealServerAnswer, string>> {
  const looked = await look(ports);
  if (!looked.ok) return looked;
  const { facts, saved } = looked.value;
  const setupOf = (address: IpAddress, wish: VipWish | null): VipSetup =>
    (wish === null ? saved.vips.find((vip) => vip.address === address) : undefined) ??
    resolveWish(wish ?? { address, tunnel: null, device: null });
  const vips = asked?.map(({ vip, wish }) => setupOf(vip, wish)) ?? saved.vips;
  if (vips.length === 0)
    return ok({
      isGood: false,
      vips: [],
      lines: [],
      summary:
        'not ready: no VIP is up here; name one with --vip, or see: leasehold realserver up --help',
    });
  const lines = deriveNeeds(vips, facts, saved).map(({ line }) => line);
  const open = lines.filter(isOpen);
  return ok({
    isGood: open.length === 0,
    vips,
    lines,
    summary:
      open.length === 0
        ? `ready: ${describeAll(vips)}`
        : `not ready: ${open.length} of ${lines.length} lines ${open.length === 1 ? 'says' : 'say'} what is missing`,
  });
}

const isOpen = ({ state }: RealServerLine): boolean => state === 'missing' || state === 'refused';

const describeAll = (vips: readonly VipSetup[]): string =>
  vips.map((vip) => `${vip.address} (${describeSetup(vip)})`).join(', ');

async function bringUp(
  setups: readonly VipSetup[],
  ports: RealServerPorts,
): Promise<Result<RealServerAnswer, string>> {
  const done: RealServerLine[] = [];
  const modules: Modules = new Map();
  for (let pass = 0; pass < PASSES; pass++) {
    // oxlint-disable-next-line no-await-in-loop -- each pass looks at what the last one made
    const looked = await look(ports);
    if (!looked.ok) return looked;
    const { facts } = looked.value;
    const needs = deriveNeeds(setups, facts, looked.value.saved, new Set(modules.keys()));
    const steps = nextSteps(needs);
    const isRefused = needs.some(({ line }) => line.state === 'refused');
    if (isRefused || (steps.length === 0 && pass > 0)) return ok(upAnswer(setups, needs, done));
    // oxlint-disable-next-line no-await-in-loop -- as above
    const failed = await change({ setups, steps, looked: looked.value, done, modules }, ports);
    if (failed !== null) return ok(upAnswer(setups, needs, [...done, failed]));
    if (steps.length === 0) return ok(upAnswer(setups, needs, done));
  }
  return err('the kernel takes every change and shows none of them: look at dmesg');
}

/** Modules first and alone: where one is missing, nothing else has been changed. */
function nextSteps(needs: readonly Need[]): readonly HostStep[] {
  const steps = needs.flatMap((need) => need.steps);
  const modules = steps.filter(({ kind }) => kind === 'load-module');
  return modules.length > 0 ? modules : steps;
}

/** Modules that were asked for, with what modprobe said; null: loaded. */
type Modules = Map<string, string | null>;

/** Notes first, changes then; the first failure ends it, and `down` gives back what was done. */
async function change(
  work: {
    readonly setups: readonly VipSetup[];
    readonly steps: readonly HostStep[];
    readonly looked: Look;
    readonly done: RealServerLine[];
    readonly modules: Modules;
  },
  ports: RealServerPorts,
): Promise<RealServerLine | null> {
  const { setups, steps, looked, done, modules } = work;
  const { facts, saved } = looked;
  const noted = steps.reduce(rememberStep, rememberVips(saved, setups, facts));
  if (noted !== saved) {
    const written = await ports.store.save(noted);
    if (!written.ok)
      return { state: 'failed', what: 'former values', detail: written.error, remedy: null };
  }
  for (const step of steps) {
    if (step.kind === 'load-module' && modules.has(step.module)) continue;
    // oxlint-disable-next-line no-await-in-loop -- in this order
    const made = await ports.host.apply(step);
    const line = describeStep(step);
    // A module may be built in: what needs it comes next, and tells.
    if (step.kind === 'load-module') modules.set(step.module, made.ok ? null : made.error.message);
    else if (!made.ok) return failure(line, moduleFailure(step, modules) ?? made.error.message);
    if (made.ok) done.push(line);
  }
  return null;
}

const failure = (line: RealServerLine, detail: string): RealServerLine => ({
  ...line,
  state: 'failed',
  detail,
});

function moduleFailure(step: HostStep, modules: Modules): string | null {
  if (step.kind === 'create-link') return modules.get(step.module) ?? null;
  return step.kind === 'add-gue-port' ? (modules.get(FOU_MODULE) ?? null) : null;
}

function upAnswer(
  setups: readonly VipSetup[],
  needs: readonly Need[],
  done: readonly RealServerLine[],
): RealServerAnswer {
  const changed = new Set(done.map(({ what }) => what));
  const rest = needs.map(({ line }) => line).filter(({ what }) => !changed.has(what));
  const refusals = rest.filter(({ state }) => state === 'refused').length;
  const isGood = !done.some(({ state }) => state === 'failed') && !rest.some(isOpen);
  if (isGood) {
    const summary = `ready: ${describeAll(setups)}`;
    return { isGood, vips: setups, lines: [...done, ...rest], summary };
  }
  // What is missing besides is what this very command would have done.
  const lines = [...done, ...rest.filter(({ state }) => state === 'refused' || state === 'note')];
  const summary =
    refusals > 0
      ? `refused, ${done.length > 0 ? 'nothing more' : 'nothing'} was changed`
      : 'failed; "leasehold realserver down" gives back what was done, or run it again when the cause is gone';
  return { isGood, vips: setups, lines, summary };
}

async function takeDown(
  asked: readonly AskedVip[] | null,
  ports: RealServerPorts,
): Promise<Result<RealServerAnswer, string>> {
  const looked = await look(ports);
  if (!looked.ok) return looked;
  const { facts, saved } = looked.value;
  const others = asked?.flatMap((one) => otherSetup(one, saved) ?? []) ?? [];
  const vips = (asked?.map(({ vip }) => vip) ?? saved.vips.map(({ address }) => address)).filter(
    (vip) => !others.some(({ address }) => address === vip),
  );
  const plan = planTakeDown(vips, facts, saved);
  const lines: RealServerLine[] = others.map(notAsAsked);
  for (const step of plan.steps) {
    // oxlint-disable-next-line no-await-in-loop -- in this order
    const made = await ports.host.apply(step);
    if (!made.ok) {
      lines.push(failure(describeStep(step), made.error.message));
      const summary = 'failed: run it again when the cause is gone';
      return ok({ isGood: false, vips: saved.vips, lines: [...lines, ...plan.lines], summary });
    }
    lines.push(describeStep(step));
  }
  const written = await ports.store.save(plan.saved);
  if (!written.ok) return written;
  return ok({
    isGood: true,
    vips: plan.saved.vips,
    lines: [...lines, ...plan.lines],
    summary: downSummary(vips, plan.steps.length, plan),
  });
}

/** Up in another way than it was asked for: a wrong command must not end what a right one has made. */
function otherSetup({ vip, wish }: AskedVip, saved: SavedHost): VipSetup | null {
  const known = saved.vips.find(({ address }) => address === vip);
  if (known === undefined || wish === null) return null;
  return isSameSetup(known, resolveWish(wish)) ? null : known;
}

const notAsAsked = (known: VipSetup): RealServerLine => ({
  state: 'note',
  what: known.address,
  detail: `stays: it is up as ${describeSetup(known)} on ${known.device}, not as asked`,
  remedy: `leasehold realserver down --vip ${known.address}`,
});

function downSummary(
  vips: readonly IpAddress[],
  changes: number,
  { saved }: Pick<TakeDown, 'saved'>,
): string {
  const rest = saved.vips.length === 0 ? '' : `; still up: ${describeAll(saved.vips)}`;
  // Settings that waited for an address of somebody else to go.
  if (vips.length === 0 && changes > 0) return `given back what was left${rest}`;
  if (vips.length === 0) return `nothing to do${rest === '' ? ': no VIP is up here' : rest}`;
  if (changes === 0)
    return `nothing to do: ${vips.join(', ')} ${vips.length === 1 ? 'is' : 'are'} not up here${rest}`;
  return `down: ${vips.join(', ')}${rest}`;
}

function describeStep(step: HostStep): RealServerLine {
  const line = (what: string, detail: string): RealServerLine => ({
    state: 'done',
    what,
    detail,
    remedy: null,
  });
  switch (step.kind) {
    case 'load-module':
      return line(`module ${step.module}`, 'loaded');
    case 'create-link':
      return line(`device ${step.name}`, 'there now');
    case 'delete-link':
      return line(`device ${step.name}`, 'removed');
    case 'switch-link':
      return line(`device ${step.name}`, step.isUp ? 'brought up' : 'brought down');
    case 'set-inner-protocol':
      return line(`mode of ${step.name}`, step.value === 0 ? 'any' : 'as before');
    case 'set':
      return line(settingName(step.path), `${step.before} -> ${step.value}`);
    case 'add-gue-port':
    case 'delete-gue-port':
      return line(
        `gue port ${step.port.port} over ${familyName(step.port.family)}`,
        step.kind === 'add-gue-port' ? 'opened' : 'closed',
      );
    case 'add-address':
    case 'delete-address':
      return line(
        `${step.address}/${prefixOf(step.address)} on ${step.device}`,
        step.kind === 'add-address' ? 'bound' : 'unbound',
      );
  }
}
