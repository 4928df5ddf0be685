// SPDX-License-Identifier: Apache-2.0
import type { FieldConfig, Panel } from '@grafana/grafana-foundation-sdk/dashboard';

/** How a panel shows the field of a name: what holds for all of them, and its own overrides. */
export interface FieldOptions extends FieldConfig {
  readonly isLink: boolean;
  /** The text has the colour of the value. */
  readonly isColoured: boolean;
  /** A colour that only this field has. */
  readonly fixed: string | undefined;
}

export function optionsOf({ fieldConfig }: Panel, name: string): FieldOptions {
  const own = fieldConfig?.overrides.find(({ matcher }) => matcher.options === name);
  const properties = Object.fromEntries(own?.properties.map(({ id, value }) => [id, value]) ?? []);
  const { links, color, 'custom.cellOptions': cells, ...fields } = properties;
  return {
    ...fieldConfig?.defaults,
    ...fields,
    isLink: links !== undefined,
    isColoured: cells !== undefined,
    fixed: color?.fixedColor,
  };
}
