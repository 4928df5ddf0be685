// SPDX-License-Identifier: Apache-2.0
import type { Panel } from '@grafana/grafana-foundation-sdk/dashboard';
import type { Answered, Window } from './answers.ts';
import type { Size } from './svg.ts';

export type Points = Answered['points'];

/** What a panel is drawn from, and how large its inside is. */
export interface Drawn {
  readonly panel: Panel;
  readonly answers: readonly (readonly Answered[])[];
  readonly window: Window;
  readonly size: Size;
}
