/**
 * The way of a stored document into force: at once where it is short, else with rests, and the former one
 * stays in force until it is judged.
 */
import type { Result } from '../lib/result.ts';
import { createPace, runPaced } from '../lib/steps.ts';
import type { ClusterSpec } from '../model/cluster.ts';
import type { GateKind } from '../model/kernel.ts';
import type { AgentOptions, AgentParts, AgentPorts } from './agent-parts.ts';
import type { CheckDesk } from './check-desk.ts';
import type { SpecBarrier } from './spec-barrier.ts';
import { createSpecDesk, type SpecDesk, type Taking } from './spec-desk.ts';

type Options = Pick<AgentOptions, 'me' | 'identity' | 'keys' | 'parseSpec' | 'loadSpec'>;
type Ports = Pick<AgentPorts, 'clock' | 'log' | 'metrics'>;

export type SpecIntakeHooks = {
  readonly parts: () => AgentParts;
  readonly barrier: Pick<SpecBarrier, 'setSpec' | 'look'>;
  readonly checks: () => Pick<CheckDesk, 'count' | 'assign' | 'sayKnown'>;
  /** Tells the election what this director could hold. */
  readonly judge: () => void;
  /** Where VIPs may be has changed. */
  readonly placesChanged: () => void;
  /** What forwards looks at the document. */
  readonly specChanged: () => void;
};

export class SpecIntake {
  readonly #options: Options;
  readonly #ports: Ports;
  readonly #hooks: SpecIntakeHooks;

  constructor(options: Options, ports: Ports, hooks: SpecIntakeHooks) {
    this.#options = options;
    this.#ports = ports;
    this.#hooks = hooks;
  }

  createDesk(gateKind: GateKind): SpecDesk {
    const { me, identity, keys, parseSpec, loadSpec } = this.#options;
    return createSpecDesk(
      {
        me,
        identity,
        keys,
        gateKind,
        parseSpec,
        ...(loadSpec === undefined
          ? {}
          : { loadSpec: (record) => this.#prepare(loadSpec(record)) }),
        loaded: (taking) => {
          this.#judged(taking);
          this.#follow();
        },
      },
      this.#ports,
    );
  }

  /** The store's view has another document, or all of it anew. */
  take(): void {
    const { records, specs } = this.#hooks.parts();
    const taking = specs.take(records.spec);
    if (taking !== 'loading') this.#judged(taking);
  }

  /** Who else enforces it, by the records as far as they are known. */
  lookAround(): void {
    const { barrier, parts } = this.#hooks;
    const { view, isSynced } = parts().hold.state();
    if (isSynced) barrier.look(view, this.#options.me, this.#ports.clock.now());
  }

  /** Most of the work that a long document makes is done before it is in force. */
  async #prepare(
    loading: Promise<Result<ClusterSpec, string>>,
  ): Promise<Result<ClusterSpec, string>> {
    const { desk, records } = this.#hooks.parts();
    const loaded = await loading;
    if (!loaded.ok) return loaded;
    this.#hooks.checks().sayKnown();
    await runPaced(desk.prepareSteps(loaded.value, records.votes), createPace(this.#ports.clock));
    return loaded;
  }

  #judged(taking: Exclude<Taking, 'loading'>): void {
    const { barrier, parts, placesChanged } = this.#hooks;
    const { records, specs, desk, tracks, hold } = parts();
    specs.see(records.revisionOf(this.#options.keys.spec));
    const spec = specs.spec();
    if (spec === null) return;
    if (taking === 'taken') {
      desk.setSpec(spec);
      barrier.setSpec(spec, specs.accepted());
      tracks.setGroups(spec.groups);
      placesChanged();
    }
    hold.setConfig(specs.electionConfig());
  }

  /** What else comes of a document, where it came into force by itself. */
  #follow(): void {
    const { parts, checks, judge, specChanged } = this.#hooks;
    const { served } = parts();
    this.lookAround();
    judge();
    checks().count('all');
    checks().assign();
    served.look();
    specChanged();
  }
}
