#!lua flags=allow-oom
-- tick: tells the clock of leases how much time has really passed, by a machine's own clock that nobody can set. A long
-- time in which no script ran (all was stopped, or the store stalled) counts in full, so that jobs expire when they
-- should. Leases get a grace then, because their workers could not renew them.
-- ARGV  1 the machine's boot id   2 ms since its boot
-- RETURNS ms by which the clock was put forward
local LONG_MS = 60000 -- a stall of the store is shorter, a machine that sleeps for a night is away longer
local NOTED_EVERY_MS = 5000
local MOST_MACHINES = 20 -- then those that are gone are dropped, with all others, which tick again soon
local boot_id, since_boot = ARGV[1], ARGV[2]
local now, wall = now_ms(), wall_ms()
local function read(field) return string.match(redis.call('HGET', K.ticks, field) or '', '^(%S+) (%S+) (%S+)$') end
local boot_ms, then_ms, then_wall = read(boot_id)
local passed = boot_ms and since_boot - boot_ms
if not passed then -- a machine that was started anew, or another one: only the wall's clock knows
  boot_ms, then_ms, then_wall = read('last')
  passed = then_wall and wall - then_wall or 0
end
local missed = math.floor((then_ms or now) + passed - now)
if missed < LONG_MS then missed = 0 end
if missed > 0 then
  redis.call('SET', K.clock, string.format('%.0f %.0f', wall, wall - now - missed))
  redis.call('SET', K.grace, 1, 'PX', S.lease_ms)
end
if missed > 0 or not boot_ms or now - then_ms > NOTED_EVERY_MS then
  if redis.call('HLEN', K.ticks) > MOST_MACHINES then redis.call('DEL', K.ticks) end
  local clocks = whole(since_boot) .. ' ' .. whole(now + missed) .. ' ' .. whole(wall)
  redis.call('HSET', K.ticks, boot_id, clocks, 'last', clocks)
end
return missed
